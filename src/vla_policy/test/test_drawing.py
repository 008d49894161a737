"""Drawing a chunk that continues the running one, by the equations of the papers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vla_core.contract import load_contract
from vla_core.types import NS, Float32, Observation, Running
from vla_policy.core.drawing import bidirectional, rtc_guided
from vla_policy.core.drawing.continuation import Continuation, continuation
from vla_policy.core.drawing.correction import ChunkCorrection
from vla_policy.core.drawing.draw import draw, samples_needed
from vla_policy.core.drawing.field import Field
from vla_policy.core.drawing.future_state import Gripper, roll_forward
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.processors import action_transform

CONTRACT = load_contract("tabletop_panda")
STEPS, WIDTH = 12, 3
GRIPPER = Gripper(open_m=0.08, opening_m_s=0.20, closing_m_s=0.16)


def two_modes(centre: float = 1.0, width: float = 0.05) -> Field:
    """Exact field of an even mixture of N(+centre, width^2) and N(-centre, width^2): one sign for the whole chunk."""

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        t = time[..., None]
        spread = (t * width) ** 2 + (1 - t) ** 2
        score = (t * centre * x / spread).sum((1, 2), keepdim=True)
        mean = centre * torch.tanh(score)
        gain = (t * width**2 - (1 - t)) / spread
        return mean + gain * (x - t * mean)

    return Field(velocity, velocity)


def noise(rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(rows, STEPS, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_the_toy_field_draws_both_modes() -> None:
    means = [float(draw(two_modes(), noise(seed=s), 20, None, *scale()).mean()) for s in range(40)]
    assert min(means) < -0.9 and max(means) > 0.9 and all(abs(abs(m) - 1.0) < 0.1 for m in means)


def scale() -> tuple[Tensor, Tensor]:
    return torch.zeros(STEPS, WIDTH), torch.ones(STEPS, WIDTH)


def test_pull_back_is_the_derivative() -> None:
    field, x, weights = two_modes(), noise().double(), torch.randn(1, STEPS, WIDTH).double()
    time = torch.full((1, STEPS), 0.4).double()
    _, pulled = field.pull_back(x, time, lambda velocity: weights)
    direction = torch.randn_like(x)
    step = 1e-6
    there, here = (field.fast(x + s * direction, time) for s in (step, -step))
    torch.testing.assert_close(
        (pulled * direction).sum(), (weights * (there - here)).sum() / (2 * step), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("mode", [-1.0, 1.0])
def test_guidance_stays_in_the_running_mode(mode: float) -> None:
    """RTC's purpose: the new chunk goes on the way that the running one took, where noise alone would toss a coin."""
    target = Continuation("rtc_guided", np.full((8, WIDTH), mode, np.float32), 4)
    kept = {
        name: sum(float(draw(two_modes(), noise(seed=s), 10, c, *scale()).mean()) * mode > 0.7 for s in range(40))
        for name, c in (("guided", target), ("free", None))
    }
    assert kept["guided"] >= 36 and kept["free"] <= 30


def test_soft_mask_falls_from_one_to_zero() -> None:
    """Equation 5: 1 on the steps that are executed meanwhile, exponential decay over the overlap, 0 beyond."""
    mask = rtc_guided.soft_mask(20, 4, 12)
    assert torch.equal(mask[:4], torch.ones(4)) and torch.equal(mask[12:], torch.zeros(8))
    assert bool((mask[4:12].diff() < 0).all()) and float(mask[4]) < 1.0
    c = 8 / 9
    assert float(mask[4]) == pytest.approx(c * (np.exp(c) - 1) / (np.e - 1))


def test_prefix_is_given_to_the_field_and_kept() -> None:
    running = Continuation("rtc_prefix", np.full((8, WIDTH), 0.7, np.float32), 5)
    drawn = draw(two_modes(), noise(), 10, running, *scale())
    assert torch.equal(drawn[:, :5], torch.full((1, 5, WIDTH), 0.7))


def test_bid_takes_the_sample_that_goes_on_as_before() -> None:
    for mode in (-1.0, 1.0):
        running = Continuation("bid", np.full((8, WIDTH), mode, np.float32), 4)
        drawn = draw(two_modes(), noise(samples_needed(running), 3), 10, running, *scale())
        assert float(drawn.mean()) == pytest.approx(mode, abs=0.1)


def test_bid_prefers_what_strong_samples_agree_on() -> None:
    strong = torch.tensor([1.0, 1.1, 0.9, 3.0])[:, None, None].expand(4, 2, 1)
    weak = torch.full((2, 2, 1), 3.0)
    assert int(bidirectional.forward_loss(strong, weak).argmin()) in (0, 1, 2)


def observation(stamp_ns: int) -> Observation:
    state = np.zeros(len(CONTRACT.state_names), np.float32)
    state[CONTRACT.state_slice("tool_pose")] = [0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0]
    rgb = np.zeros((2, 128, 128, 3), np.uint8)
    return Observation(
        stamp_ns, "go", CONTRACT.hash, ("front", "wrist"), np.ones(2, bool), rgb, CONTRACT.state_names, state
    )


def running(strategy: str = "rtc_prefix", count: int = 20, fresh: int = 20) -> Running:
    actions = np.zeros((count, 8), np.float32)
    actions[:, 0], actions[:, 3] = 0.4 + 0.01 * np.arange(count), 1.0
    return Running(strategy, NS, CONTRACT.dt_s, actions, 4, min(fresh, count))


def test_running_motion_is_put_on_the_new_chunks_clock() -> None:
    """Six and a half steps later 13 steps are left, relative to the new observation's tool, and none is made up."""
    stamp = NS + round(6.5 * CONTRACT.dt_s * NS)
    found = continuation(running(), observation(stamp), CONTRACT, action_transform(CONTRACT), 10)
    assert found is not None and found.actions.shape == (13, 7) and found.delay_steps == 4
    assert np.allclose(found.actions[:, 0], (0.01 * (6.5 + np.arange(13))) / 0.1, atol=1e-5)


def test_nothing_is_continued_where_nothing_runs() -> None:
    transform = action_transform(CONTRACT)
    assert continuation(None, observation(2 * NS), CONTRACT, transform, 10) is None
    assert continuation(running("naive_async"), observation(NS), CONTRACT, transform, 10) is None
    assert continuation(running(count=0), observation(NS), CONTRACT, transform, 10) is None
    assert continuation(running(), observation(NS - 10_000_000), CONTRACT, transform, 10) is None, "it begins later"
    assert continuation(running(), observation(3 * NS), CONTRACT, transform, 10) is None, "it is over"


def rest(chunk_stamp_ns: int, seen_ns: int, instruction: str = "go") -> tuple[list[int], list[Float32], Float32 | None]:
    """What a corrector is asked for, and what comes of it, `seen_ns` after the capture of a chunk's observation."""
    asked: list[int] = []
    given: list[Float32] = []

    class Echo:
        def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
            asked.append(first)
            given.append(actions)
            return actions + np.float32(0.5)

    correction = ChunkCorrection(Echo(), CONTRACT)
    correction.take(PolicyOutput(running().actions, 0.4, 0.7), chunk_stamp_ns, instruction)
    corrected = correction.correct(observation(seen_ns))
    assert corrected is None or (corrected.progress, corrected.success_estimate) == (0.4, 0.7), "else no task ever ends"
    return asked, given, None if corrected is None else corrected.actions


def test_only_what_is_left_of_a_chunk_is_corrected() -> None:
    """A2C2: step k of the chunk is due k steps after its observation, whenever the correction comes."""
    asked, given, corrected = rest(NS, NS + round(6.5 * CONTRACT.dt_s * NS))
    assert asked == [6] and len(given[0]) == 13 and corrected is not None
    assert np.allclose(given[0][:, 0], 0.4 + 0.01 * (6.5 + np.arange(13)), atol=1e-5)
    assert np.allclose(corrected, given[0] + 0.5)


@pytest.mark.parametrize(
    ("chunk_ns", "seen_ns", "instruction"),
    [(NS, NS - 10_000_000, "go"), (NS, 2 * NS, "go"), (NS, NS, "stop")],
    ids=["seen before", "nothing left", "another task"],
)
def test_nothing_is_corrected_where_nothing_is_left(chunk_ns: int, seen_ns: int, instruction: str) -> None:
    asked, _, corrected = rest(chunk_ns, seen_ns, instruction)
    assert corrected is None and not asked


def test_state_is_rolled_forward_to_where_the_chunk_takes_effect() -> None:
    """VLASH: the tool 4 steps after the observation is where the running motion leads, and those 4 steps come first."""
    stamp = NS + round(2 * CONTRACT.dt_s * NS)
    seen = observation(stamp)
    seen.state[CONTRACT.state_slice("gripper_width")] = 0.05
    ahead = roll_forward(running("vlash"), seen, CONTRACT, 12, GRIPPER)
    assert ahead is not None and ahead.offset_s == pytest.approx(4 * CONTRACT.dt_s)
    assert ahead.state[CONTRACT.state_slice("tool_pose")][0] == pytest.approx(0.4 + 0.01 * 6)
    assert ahead.state[CONTRACT.state_slice("gripper_width")][0] == pytest.approx(0.05 - 4 * 0.16 * CONTRACT.dt_s)
    chunk = ahead.complete(np.full((20, 8), 9.0, np.float32))
    assert (
        chunk.shape == (20, 8) and np.allclose(chunk[:4, 0], 0.4 + 0.01 * (2 + np.arange(4))) and np.all(chunk[4:] == 9)
    )


@pytest.mark.parametrize(
    ("width_m", "openings", "expected_m"),
    [(0.08, [1, 0, 0], 0.064), (0.04, [0] * 8, 0.0), (0.0, [1] * 3, 0.03), (0.0, [0.5] * 9, 0.04), (0.05, [], 0.05)],
)
def test_gripper_obeys_at_its_own_pace(width_m: float, openings: list[float], expected_m: float) -> None:
    widths = GRIPPER.follow(np.array(width_m), np.array(openings), 0.05)
    assert widths.shape == (len(openings) + 1,) and widths[-1] == pytest.approx(expected_m)


def test_nothing_is_rolled_forward_where_nothing_runs_that_long() -> None:
    assert roll_forward(running("naive_async"), observation(NS), CONTRACT, 12, GRIPPER) is None
    assert roll_forward(running("vlash", count=0), observation(NS), CONTRACT, 12, GRIPPER) is None
    assert (
        roll_forward(running("vlash"), observation(NS + round(17 * CONTRACT.dt_s * NS)), CONTRACT, 12, GRIPPER) is None
    )


@pytest.mark.parametrize("spread", [0.2, 0.5])
def test_guidance_keeps_the_steps_that_run(spread: float) -> None:
    """A policy that wants something else by 1: what is frozen stays within a tenth of that, RTC's equation 5."""

    def velocity(x: Tensor, time: Tensor) -> Tensor:  # exact field of N(0, spread^2)
        t = time[..., None]
        return (t * spread**2 - (1 - t)) / ((t * spread) ** 2 + (1 - t) ** 2) * x

    field, delay = Field(velocity, velocity), 4
    target = Continuation("rtc_guided", np.ones((8, WIDTH), np.float32), delay)
    drawn = torch.cat([draw(field, noise(seed=s), 8, target, *scale()) for s in range(20)])
    assert float((drawn[:, :delay] - 1.0).abs().mean()) < 0.1
    assert float(drawn[:, 8:].abs().mean()) < 1.2 * spread, "the rest is the policy's own"


def test_methods_stay_on_the_device_of_their_samples() -> None:
    """On a GPU: `meta` tensors refuse to meet others just as those do."""
    samples, target = torch.empty(6, STEPS, WIDTH, device="meta"), torch.empty(1, 5, WIDTH, device="meta")
    assert bidirectional.coherent_half(samples, target).device.type == "meta"
    field = Field(lambda x, t: x * t[..., None], lambda x, t: x * t[..., None])
    assert rtc_guided.draw(field, samples[:1], 8, target, 3).device.type == "meta"


def test_what_needs_no_training_takes_every_step_that_runs() -> None:
    for strategy, most in (("rtc_guided", 9), ("rtc_prefix", 6)):
        late = replace(running(strategy), delay_steps=9)
        found = continuation(late, observation(NS), CONTRACT, action_transform(CONTRACT), 6)
        assert found is not None and found.delay_steps == most


def test_no_more_steps_are_given_than_the_policy_was_trained_for() -> None:
    found = continuation(running(), observation(NS), CONTRACT, action_transform(CONTRACT), 3)
    assert found is not None and found.delay_steps == 3


def test_bid_is_not_outvoted_by_the_likelier_mode() -> None:
    """Regression: with few samples about the running mode the forward term alone decided, for the other one."""
    away = torch.full((5, 4, 1), -1.0) + 0.01 * torch.randn(5, 4, 1, generator=torch.Generator().manual_seed(0))
    near = torch.tensor([1.0, 1.02])[:, None, None].expand(2, 4, 1)
    kept = bidirectional.coherent_half(torch.cat([away, near]), torch.ones(1, 3, 1))
    weak = torch.zeros(1, 4, 1)  # between the modes
    loss = bidirectional.backward_loss(kept, torch.ones(1, 3, 1)) + bidirectional.forward_loss(kept, weak)
    assert len(kept) == 4 and float(kept[int(loss.argmin())].mean()) > 0.9


def test_of_the_brake_only_what_will_have_been_executed_is_continued() -> None:
    """A chunk that comes too late begins where the arm has braked to, not where the last chunk ended."""
    late = NS + round(18 * CONTRACT.dt_s * NS)
    found = continuation(running(count=40), observation(late), CONTRACT, action_transform(CONTRACT), 10)
    assert found is not None and found.actions.shape == (4, 7) and found.delay_steps == 4
    early = continuation(running(count=40), observation(NS), CONTRACT, action_transform(CONTRACT), 10)
    assert early is not None and len(early.actions) == 20
