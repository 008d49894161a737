"""The training loop: bounded by minutes or steps, resumable, averaged, with the figures that matter."""

from __future__ import annotations

import copy
import json
import math
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tensorboardX import SummaryWriter
from torch import nn

from vla_core.errors import WeightsError
from vla_policy.training.dataset import prefetched
from vla_policy.training.distributed import Team
from vla_policy.training.losses import weighted_sum
from vla_policy.training.stages import Stage

SUCCESS = "closed_loop"  # figure that says how often the averaged model wins when it plays
FINAL_RATE = 0.02  # of the peak learning rate


class StageBounds(Protocol):
    """What a stage's own section says of its loop."""

    @property
    def learning_rate(self) -> float:
        """Of the optimiser, after warming up."""

    @property
    def warmup_steps(self) -> int:
        """Steps up to it."""


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Bounds and options of one stage's loop.

    Attributes:
        name: Stage name, for messages and files.
        minutes: Training time over all resumed runs; 0: no limit.
        steps: Optimiser steps; 0: no limit.
        learning_rate, warmup_steps, weight_decay, clip_norm, ema: As usual.
        losses: Weight of every loss by name.
        seed: Of the batch order and the noise.
        print_every: Steps per progress line.
        save_minutes: Minutes between checkpoints.
        evaluate_minutes: Minutes between evaluations.
        patience: Evaluations without a better closed-loop success after which training ends; 0: never.
    """

    name: str
    minutes: float
    steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    ema: float
    losses: dict[str, float]
    seed: int
    print_every: int = 50
    save_minutes: float = 3.0
    evaluate_minutes: float = 5.0
    patience: int = 0

    @classmethod
    def of_stage(cls, name: str, training: Mapping[str, Any], stage: StageBounds, **bounds: Any) -> LoopConfig:
        """Of a preset's `training` section and one of its stages.

        Args:
            name: See the class.
            training: Has `weight_decay`, `clip_norm`, `ema`, `losses` and `seed`.
            stage: Has `learning_rate` and `warmup_steps`.
            bounds: `minutes`, `steps`, and whatever else shall not be as there.
        """
        same = {key: training[key] for key in ("weight_decay", "clip_norm", "ema", "losses", "seed")}
        return cls(
            **{"name": name, "learning_rate": stage.learning_rate, "warmup_steps": stage.warmup_steps, **same, **bounds}
        )


class Loop:
    """Trains a model in place on one stage.

    `average` holds the exponential moving average of its parameters, and its buffers as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        stage: Stage,
        config: LoopConfig,
        out: Path,
        judge: Callable[[nn.Module], dict[str, Any]],
    ) -> None:
        """Prepare, and resume when `out` holds this stage's checkpoint.

        Args:
            model: Trained in place.
            stage: Batches and losses.
            config: Bounds and options.
            out: Folder for `checkpoint_<stage>.pt` and `log.jsonl`.
            judge: Metrics of a model, called with the averaged one. Where SUCCESS is among them, the best weights by
                it are kept and become the result.
        """
        self.model, self.stage, self.config, self.out, self.judge = model, stage, config, out, judge
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.parameters = stage.parameters()
        decayed = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
        self.team = Team.join()
        self.rng = np.random.default_rng(config.seed if self.team.leads else [config.seed, self.team.rank])
        torch.manual_seed(config.seed + 7919 * self.team.rank)
        self.step, self.elapsed_s, self.stop = 0, 0.0, False
        self.best, self.misses = -1.0, 0
        self.path, self.best_path = (out / f"{kind}_{config.name}.pt" for kind in ("checkpoint", "best"))
        self.board: SummaryWriter | None = None
        if self.path.is_file():
            self._resume()
        self.team.begin_alike(self.model)

    def run(self) -> None:
        """Train until a bound is reached, then save and judge.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM came; the checkpoint is written, and the next run goes on from it.
            WeightsError: a gradient that isn't finite.
        """
        config = self.config
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        sums: dict[str, float] = {}
        last_save = last_judged = mark = self.elapsed_s
        began = time.monotonic() - self.elapsed_s
        trained = [p for p in self.parameters if p.requires_grad]
        pairs = [(a, p) for a, p in zip(self.average.parameters(), self.model.parameters(), strict=True)]
        buffers = [(a, b) for a, b in zip(self.average.buffers(), self.model.buffers(), strict=True)]
        with prefetched(self.stage.batches(self.rng)) as batches:
            while not self.team.any(self.stop or self.fraction() >= 1.0, trained[0].device):
                self._set_rate(min(1.0, self.fraction()))
                losses = self.stage.losses(next(batches))
                total = weighted_sum(losses, config.losses)
                self.optimiser.zero_grad(set_to_none=True)
                total.backward()
                self.team.average(trained)
                norm = nn.utils.clip_grad_norm_(trained, config.clip_norm)
                if not bool(torch.isfinite(norm)):
                    raise WeightsError(
                        f"a gradient of {float(norm)} at step {self.step}", "a finite one", "check the data"
                    )
                self.optimiser.step()
                self.step += 1
                decay = min(config.ema, (1 + self.step) / (10 + self.step))
                torch._foreach_lerp_([a for a, _ in pairs], [p.detach() for _, p in pairs], 1.0 - decay)
                for kept, present in buffers:
                    kept.copy_(present)
                self.elapsed_s = time.monotonic() - began
                for name, value in {**losses, "norm": norm}.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
                if self.step % config.print_every == 0:
                    rate = config.print_every / (self.elapsed_s - mark)
                    self._report({n: v / config.print_every for n, v in sums.items()}, rate)
                    sums, mark = {}, self.elapsed_s
                if self.elapsed_s - last_save > 60 * config.save_minutes:
                    self.save()
                    last_save = self.elapsed_s
                if self.elapsed_s - last_judged > 60 * config.evaluate_minutes:
                    pause = time.monotonic()
                    self.evaluate()
                    began += time.monotonic() - pause
                    last_judged = self.elapsed_s
        for number, handler in previous.items():
            signal.signal(number, handler)
        self.save()
        if self.stop:
            raise KeyboardInterrupt
        self.evaluate()
        if self.best_path.is_file():
            self.average.load_state_dict(torch.load(self.best_path, weights_only=True))
        if self.board is not None:
            self.board.close()

    def fraction(self) -> float:
        """How much of the bound is used up, 0..1; the nearer of the two counts."""
        if self.config.patience and self.misses >= self.config.patience:
            return 1.0
        by_time = self.elapsed_s / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(by_time, self.step / self.config.steps if self.config.steps else 0.0)

    def evaluate(self) -> dict[str, Any]:
        """Judge the averaged model, print and log the figures, and keep it where it does best."""
        if not self.team.leads:
            return {}
        figures = self.judge(self.average)
        if SUCCESS in figures:
            better = figures[SUCCESS] > self.best
            self.best, self.misses = (figures[SUCCESS], 0) if better else (self.best, self.misses + 1)
            if better:
                torch.save(self.average.state_dict(), self.best_path)
        print(
            f"{self.config.name} {self.step} EVAL " + " ".join(f"{n} {_short(v)}" for n, v in figures.items()),
            flush=True,
        )
        self._log({"metrics": figures})
        return figures

    def save(self) -> None:
        """Write the checkpoint; an interrupted write leaves the old one."""
        if not self.team.leads:
            return
        state = {
            "best": self.best,
            "misses": self.misses,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": self.rng.bit_generator.state,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def _resume(self) -> None:
        state = torch.load(self.path, map_location=next(self.model.parameters()).device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.best, self.misses = state.get("best", -1.0), state.get("misses", 0)
        torch.set_rng_state(state["torch_rng"].cpu())
        self.rng.bit_generator.state = state["numpy_rng"]
        print(f"{self.config.name}: resumed at step {self.step}, {self.elapsed_s / 60:.1f} min", flush=True)

    def _set_rate(self, fraction: float) -> None:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup_steps))
        cosine = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * fraction))
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * warm * cosine

    def _report(self, losses: dict[str, float], rate: float) -> None:
        if not self.team.leads:
            return
        text = " ".join(f"{name} {_short(value)}" for name, value in losses.items())
        print(f"{self.config.name} {self.step} {self.elapsed_s / 60:.1f}min {rate:.2f}it/s | {text}", flush=True)
        self._log({"losses": losses, "steps_per_s": rate})

    def _log(self, row: dict[str, Any]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if self.board is None:
            self.board = SummaryWriter(str(self.out / "tensorboard"))
        for name, value in {**row.get("losses", {}), **row.get("metrics", {})}.items():
            self.board.add_scalar(f"{self.config.name}/{name}", value, self.step)
        with (self.out / "log.jsonl").open("a") as file:
            head = {"stage": self.config.name, "step": self.step, "elapsed_s": round(self.elapsed_s, 1)}
            file.write(json.dumps(head | row) + "\n")

    def _on_signal(self, number: int, frame: Any) -> None:
        self.stop = True


def _short(value: float) -> str:
    return f"{value:.3g}"
