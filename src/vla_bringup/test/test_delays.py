"""The latency harness that strategies are compared under: the law of its delays, that they pass, and `vla eval`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vla_bringup.cli import main
from vla_core.errors import ConfigError
from vla_core.types import NS, Float32
from vla_sim.core.delays import DelayModel, Delays
from vla_sim.core.rig import Player, _Line

MS = 1_000_000
MODEL = DelayModel(0.2, 0.3, 0.1)


def drawn(model: DelayModel, seed: int, count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Delays [s] and whether each arrives."""
    delays = Delays(model, seed)
    rows = [delays.draw() for _ in range(count)]
    return np.array([delay for delay, _ in rows]), np.array([arrives for _, arrives in rows])


def test_delays_spread_evenly_about_their_mean_and_no_further_than_the_jitter() -> None:
    delay, _ = drawn(MODEL, 7)
    half = 0.3 * 0.2
    assert 0.2 - half <= delay.min() < 0.2 - 0.99 * half and 0.2 + 0.99 * half < delay.max() <= 0.2 + half
    counts, _ = np.histogram(delay, 10, (0.2 - half, 0.2 + half))
    assert np.abs(counts / len(delay) - 0.1).max() < 0.02  # 5 standard deviations of a share of 0.1
    assert abs(np.corrcoef(delay[1:], delay[:-1])[0, 1]) < 0.07


@pytest.mark.parametrize("loss", [0.05, 0.5])
def test_as_many_are_lost_as_was_said_whatever_their_delay(loss: float) -> None:
    delay, arrives = drawn(DelayModel(0.2, 0.3, loss), 7)
    spread = np.sqrt(loss * (1.0 - loss) / len(delay))
    assert np.mean(~arrives) == pytest.approx(loss, abs=5.0 * spread)
    assert delay[arrives].mean() == pytest.approx(delay[~arrives].mean(), abs=0.015)
    later = ~arrives[1:] & ~arrives[:-1]
    assert np.mean(later) == pytest.approx(loss**2, abs=0.05)  # one after the other, not in bursts


def test_without_jitter_and_loss_every_delay_is_the_mean() -> None:
    delay, arrives = drawn(DelayModel(0.2), 7, 100)
    assert set(delay) == {0.2} and arrives.all()
    assert set(drawn(DelayModel(), 7, 100)[0]) == {0.0}


def test_the_seed_decides() -> None:
    (delay, arrives), again, other = drawn(MODEL, 7, 200), drawn(MODEL, 7, 200), drawn(MODEL, 8, 200)
    np.testing.assert_array_equal(delay, again[0])
    np.testing.assert_array_equal(arrives, again[1])
    assert np.mean(delay == other[0]) < 0.05 and (arrives != other[1]).any()


@pytest.mark.parametrize("bad", [(-0.1, 0.0, 0.0), (61.0, 0.0, 0.0), (0.1, 1.1, 0.0), (0.1, 0.0, 1.0)])
def test_a_model_that_is_none_is_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="--delay-ms, --jitter-ms, --loss"):
        DelayModel(*bad)


class StandIn:
    """A rig in which time passes and nothing moves; notes when each observation's answer came."""

    def __init__(self) -> None:
        self.world = SimpleNamespace(time_ns=NS)
        self.contract = SimpleNamespace(rate_hz=20.0)
        self.executor = SimpleNamespace(strategy="naive_async", waits=False, running=lambda: None)
        self.rejections: list[str] = []
        self.asked: list[int] = []
        self.came: dict[int, int] = {}

    def observation(self) -> int:
        self.asked.append(self.world.time_ns)
        return self.world.time_ns

    def execute(self, actions: Float32, stamp_ns: int) -> None:
        self.came[stamp_ns] = self.world.time_ns

    def advance(self, duration_s: float) -> None:
        self.world.time_ns += round(duration_s * NS)


def played(model: DelayModel, seed: int) -> StandIn:
    """20 s of a line whose policy answers at once."""
    rig: Any = StandIn()
    line = _Line(rig, Player(lambda *_: (np.zeros((1, 1), np.float32), 0.0)), Delays(model, seed), 0.1)
    for _ in range(200):
        line.run(0.1)
    stand_in: StandIn = rig
    return stand_in


def test_an_answer_comes_when_its_delay_is_over_and_a_lost_one_never() -> None:
    rig, delays = played(DelayModel(0.2, 0.5, 0.3), 3), Delays(DelayModel(0.2, 0.5, 0.3), 3)
    assert len(rig.asked) > 60 and 0.5 < len(rig.came) / len(rig.asked) < 0.9
    for stamp_ns in rig.asked[:-1]:  # the last one may be under way
        delay_s, arrives = delays.draw()
        assert rig.came.get(stamp_ns, -1) == (stamp_ns + round(1e3 * delay_s) * MS if arrives else -1)


def test_one_observation_after_the_other_is_asked_about() -> None:
    """A policy that takes longer than it is asked for answers less often, and never two at a time."""
    rig = played(DelayModel(0.23), 3)
    assert set(np.diff(rig.asked)) == {230 * MS}
    assert set(np.diff(played(DelayModel(), 3).asked)) == {100 * MS}


def test_eval_with_delays_succeeds_and_says_what_it_was_played_under(tmp_path: Path) -> None:
    words = ["eval", "--policy", "scripted_expert", "--episodes", "1", "--workers", "1", "--out", str(tmp_path)]
    assert main([*words, "--delay-ms", "80", "--jitter-ms", "40", "--loss", "0.1"]) == 0
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    (row,) = result["rows"]
    assert (row["delay_ms"], row["jitter_pct"], row["loss_pct"]) == (80.0, 50.0, 10.0)
    assert row["episodes"] == 1 and row["success"] == 1.0
    assert "--delay-ms 80.0 --jitter-ms 40.0 --loss 0.1" in result["command"]
