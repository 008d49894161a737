"""Two processes that train together do what one does with both batches; the best weights by playing are the result."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from torch import Tensor, nn

from vla_policy.training.trainer import SUCCESS, Loop, LoopConfig

CONFIG = LoopConfig("toy", 0.0, 12, 0.05, 1, 0.0, 10.0, 0.0, {"loss": 1.0}, seed=3)


class Rows:
    """Linear regression; every process draws other rows, or one process the rows of all."""

    def __init__(self, model: nn.Linear, rng_of: Any, teams: int) -> None:
        self.model, self._rng_of, self._teams = model, rng_of, teams

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def batches(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        rngs = [self._rng_of(k) for k in range(self._teams)] if self._teams else [rng]
        while True:
            x = np.concatenate([r.standard_normal((8, 3)).astype(np.float32) for r in rngs])
            yield {"x": x, "y": x.sum(1, keepdims=True)}

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        out: Tensor = self.model(torch.from_numpy(batch["x"])) - torch.from_numpy(batch["y"])
        return {"loss": out.square().mean()}


def train(out: Path, teams: int = 0) -> Loop:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def rng_of(rank: int) -> np.random.Generator:
        return np.random.default_rng(CONFIG.seed if rank == 0 else [CONFIG.seed, rank])

    loop = Loop(model, Rows(model, rng_of, teams), CONFIG, out, lambda averaged: {"w": float(averaged.weight.sum())})  # type: ignore[union-attr, operator]
    loop.run()
    return loop


def test_two_processes_train_like_one_with_both_batches(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import torch
from test_distributed import train
loop = train(Path({str(tmp_path / "team")!r}))
torch.save(loop.model.state_dict(), {str(tmp_path)!r} + f"/rank{{loop.team.rank}}.pt")
"""
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, capture_output=True)
    first, second = (torch.load(tmp_path / f"rank{k}.pt", weights_only=True) for k in range(2))
    alone = train(tmp_path / "alone", teams=2).model.state_dict()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-5)
    assert (tmp_path / "team" / "checkpoint_toy.pt").is_file()


@pytest.mark.parametrize("patience", [0, 2])
def test_the_weights_that_played_best_are_the_result(tmp_path: Path, patience: int) -> None:
    """Success rises to the third evaluation and falls from there on; with patience, two worse ones end it."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    played: list[float] = []
    kept: list[Tensor] = []

    def judge(averaged: nn.Module) -> dict[str, float]:
        played.append(1.0 - 0.1 * abs(len(played) - 2))
        kept.append(averaged.weight.detach().clone())  # type: ignore[union-attr, operator]
        return {SUCCESS: played[-1]}

    bounds = {name: getattr(CONFIG, name) for name in CONFIG.__slots__}
    config = LoopConfig(**bounds | {"evaluate_minutes": 0.0, "patience": patience})  # evaluated after every step
    loop = Loop(model, Rows(model, None, 0), config, tmp_path, judge)
    loop.run()
    assert torch.equal(loop.average.weight, kept[2])  # type: ignore[arg-type]
    assert loop.step == (5 if patience else CONFIG.steps)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["metrics"][SUCCESS] for row in rows if "metrics" in row] == played


def test_the_log_is_readable_by_tensorboard(tmp_path: Path) -> None:
    train(tmp_path)
    events = next((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    content, begin, tags = events.read_bytes(), 0, set()
    while begin < len(content):
        length = int.from_bytes(content[begin : begin + 8], "little")
        event = Event.FromString(content[begin + 12 : begin + 12 + length])
        tags |= {value.tag for value in event.summary.value}
        begin += 12 + length + 4
    assert tags == {"toy/w"}
