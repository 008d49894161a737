"""Pictures of what each execution strategy does, drawn by the strategies themselves: docs/images/strategies.png.

One number x is to be led to +1 or to -1, whichever, by a policy that tosses a coin while x lies near 0. Its answers
take 0.4 s. The executor's strategies and the policy's drawing methods are the real ones; only robot and model are not.

./vla python -m vla_bringup.strategy_pictures
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_control.core.chunk_buffer import ChunkBuffer, Steps
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.strategies.registry import STRATEGIES, make_strategy
from vla_control.core.strategies.strategy import Strategy
from vla_core.action_parts import ActionPart
from vla_core.actions import ActionAlgebra
from vla_core.files import workspace_root
from vla_core.types import NS, ActionChunk, Float64
from vla_policy.core.drawing.continuation import CONTINUED, Continuation
from vla_policy.core.drawing.draw import draw, samples_needed
from vla_policy.core.drawing.field import Field

DT_S, STEPS, DELAY_S, REPLAN_S, END_S = 0.05, 20, 0.4, 0.4, 3.2
SPEED, FASTEST = 1.2, 3.0  # of x towards its goal, and at most, per second
SURE = 0.2  # from this far to one side the policy goes on to that side
SPREAD = 0.01  # of the policy's samples
DRIFT = 0.15  # how fast the goals move away, which only a newer observation tells
_SEED = 1


@dataclass
class Run:
    """What is drawn of one strategy: chunks (times, values), and the path that is executed."""

    chunks: list[tuple[Float64, Float64]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    path: list[float] = field(default_factory=list)


def goal(time_s: float) -> float:
    """Distance of both goals from 0."""
    return 1.0 + DRIFT * time_s


def mode(x: float, side: float, time_s: float) -> Float64:
    """The expert's way (T,) from x to one side, as far as it can be known at a time."""
    steps = np.arange(STEPS) * DT_S
    end = side * goal(time_s)
    return x + np.sign(end - x) * np.minimum(SPEED * steps, abs(end - x))


def velocity_field(modes: Float64, likely: Float64) -> Field:
    """Exact flow field of an even mixture of normal distributions about the modes (K,T) with these weights (K,)."""
    centres, prior = torch.from_numpy(modes).float()[:, None, :, None], torch.from_numpy(np.log(likely)).float()

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        t = time[..., None]
        spread = (t * SPREAD) ** 2 + (1 - t) ** 2 + 1e-9
        apart = x - t * centres
        weight = torch.softmax(prior[:, None] - 0.5 * (apart**2 / spread).sum((2, 3)), 0)[..., None, None]
        clean = (weight * (centres + t * SPREAD**2 / spread * apart)).sum(0)
        out: Tensor = (clean - x) / (1 - t).clamp(min=1e-3)
        return out

    return Field(velocity, velocity)


def predict(x: float, time_s: float, given: Continuation | None, rng: np.random.Generator) -> Float64:
    """The policy's chunk (T,): both sides while x is near 0, one elsewhere."""
    modes = np.stack([mode(x, side, time_s) for side in (-1.0, 1.0)])
    if given is not None and given.strategy == "rtc_prefix":  # a field that was trained to continue
        before = given.actions[: given.delay_steps, 0]
        x = float(before[-1])
        modes = np.stack([[*before, *mode(x, side, time_s)][:STEPS] for side in (-1.0, 1.0)])
    likely = np.array([0.5, 0.5]) if abs(x) < SURE else np.array([1e-6, 1.0])[:: 1 if x > 0 else -1]
    noise = torch.from_numpy(rng.standard_normal((samples_needed(given), STEPS, 1), np.float32))
    one = torch.zeros(STEPS, 1), torch.ones(STEPS, 1)
    chunk: Float64 = draw(velocity_field(modes, likely), noise, 20, given, *one)[0, :, 0].double().numpy()
    return chunk


def play(name: str, seed: int = _SEED) -> Run:
    """Run the loop under one strategy."""
    strategy = make_strategy(name, ExecutorParameters.from_config().strategies)
    buffer = ChunkBuffer(ActionAlgebra(("x",), (ActionPart("joint_position", (0,), ("x",), ("1",)),)))
    rng, run, x, ask_s = np.random.default_rng(seed), Run(), 0.0, 0.0
    waiting: tuple[float, float, Float64] | None = None
    base: tuple[float, Float64] | None = None  # A2C2: the chunk that is corrected
    for tick in range(round(END_S / DT_S)):
        now_s = tick * DT_S
        if waiting is not None and now_s >= waiting[0] - 1e-6:
            base = waiting[1:]
            waiting = None
            run.chunks.append((base[0] + DT_S * np.arange(STEPS), base[1]))
            if name != "a2c2":
                _execute(buffer, strategy, base[1], base[0], now_s)
        executed = buffer.executed
        rests = executed is None or now_s >= executed.origin_ns / NS + (len(executed.actions) - 1) * DT_S - 1e-6
        if waiting is None and now_s >= ask_s - 1e-6 and (rests or not strategy.waits):
            waiting = now_s + DELAY_S, now_s, _answer(name, x, now_s, executed, rng)
            ask_s = now_s + REPLAN_S
        if name == "a2c2" and base is not None:
            left = base[1][round((now_s - base[0]) / DT_S) :]
            if len(left) > 1:
                _execute(buffer, strategy, left * goal(now_s) / goal(base[0]), now_s, now_s)  # a perfect corrector
        run.times_s.append(now_s)
        run.path.append(x)
        x = _next(buffer.executed, x, now_s + DT_S)
    return run


def _answer(name: str, x: float, now_s: float, executed: Steps | None, rng: np.random.Generator) -> Float64:
    ahead = round(DELAY_S / DT_S)
    left = np.zeros(0)
    if executed is not None:
        left = executed.actions[max(0, round((now_s - executed.origin_ns / NS) / DT_S)) :, 0]
    if name == "vlash" and len(left) > ahead:
        return np.concatenate([left[:ahead], predict(float(left[ahead]), now_s, None, rng)])[:STEPS]
    given = None
    if name in CONTINUED and len(left) > 1:
        given = Continuation(name, left[:STEPS, None].astype(np.float32), min(ahead, len(left)))
    return predict(x, now_s, given, rng)


def _execute(buffer: ChunkBuffer, strategy: Strategy, chunk: Float64, stamp_s: float, now_s: float) -> None:
    actions = chunk[:, None].astype(np.float32)
    buffer.add(ActionChunk(round(stamp_s * NS), 1, "toy", "", "joint_position", ("x",), DT_S, actions))
    buffer.executed = strategy.steps(buffer, round(now_s * NS))


def _next(executed: Steps | None, x: float, time_s: float) -> float:
    """x one step later: it follows what is executed as fast as it can."""
    if executed is None or time_s < executed.origin_ns / NS:
        return x
    place = (time_s - executed.origin_ns / NS) / DT_S
    wanted = float(np.interp(place, np.arange(len(executed.actions)), executed.actions[:, 0]))
    return x + float(np.clip(wanted - x, -FASTEST * DT_S, FASTEST * DT_S))


def picture(path: Path) -> None:
    """Draw all strategies side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 4
    rows = -(-len(STRATEGIES) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(14, 2.9 * rows), sharex=True, sharey=True, layout="constrained"
    )
    for axis, name in zip(axes.flat, STRATEGIES, strict=False):
        run = play(name)
        for k, (times_s, values) in enumerate(run.chunks):
            axis.plot(times_s, values, color=f"C{k % 10}", alpha=0.6, linewidth=1.2)
            axis.plot(times_s[0], values[0], "o", color=f"C{k % 10}", markersize=4)
            axis.axvline(times_s[0] + DELAY_S, color=f"C{k % 10}", linestyle=":", linewidth=0.8)
        axis.plot(run.times_s, run.path, color="black", linewidth=2.2)
        ends = np.array(run.times_s)
        for side in (-1.0, 1.0):
            axis.plot(ends, [side * goal(t) for t in ends], color="grey", linestyle="--", linewidth=0.8)
        axis.set_title(name)
        axis.set(xlim=(0, END_S), ylim=(-1.5, 1.5))
    for axis in list(axes.flat)[len(STRATEGIES) :]:
        axis.axis("off")
    figure.supxlabel("time [s]")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main() -> None:
    """Write the picture."""
    path = workspace_root() / "docs" / "images" / "strategies.png"
    picture(path)
    print(f"wrote {path.relative_to(workspace_root())}")


if __name__ == "__main__":
    main()
