"""From demonstrations to a system's weight file, stage by stage; every system on the same cached sights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_core.contract import load_contract
from vla_core.errors import UnknownNameError
from vla_policy.core.eyes import Eyes
from vla_policy.core.preset import load_preset, parse
from vla_policy.core.systems.catalogue import make_system
from vla_policy.core.systems.sizes import Fitting
from vla_policy.core.systems.system import System
from vla_policy.core.weights import Metadata, fill, load_weights, save_weights
from vla_policy.training.dataset import Dataset
from vla_policy.training.precision import bfloat16_pays
from vla_policy.training.scene_texts import all_questions, all_texts
from vla_policy.training.session import Options
from vla_policy.training.sights import SightBank
from vla_policy.training.system_stage import SystemStage, SystemStageConfig, with_past
from vla_policy.training.trainer import SUCCESS, Loop, LoopConfig

JUDGED_FRAMES = 256
_STEP = 8  # of a chunk, at which figures are given: 0.4 s, when the next chunk takes over


class SystemSession:
    """Data, eyes and system of one training run."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.preset = preset = load_preset(options.preset)
        self.contract = load_contract(preset.contract)
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(found if options.device == "auto" else options.device)
        self.dataset = Dataset(options.data, self.contract)
        self.eyes = Eyes.load(preset.model["eyes"], self.contract)
        torch.manual_seed(preset.training["seed"])
        self.system = make_system(preset, self.eyes.sizes)
        questions = all_questions(self.eyes.names)
        sentences = [*self.dataset.instructions, *questions]
        self.bank = SightBank(
            self.eyes, self.dataset, sentences, options.data / "sights", preset.training["augmentation"],
            self.system.wanted(), self.device,
        )  # fmt: skip
        if options.init is None:
            texts = (*sentences, *all_texts(self.eyes.names))
            self.system.fit(Fitting(self._chunks(), self.eyes.queries, texts))
        else:
            tensors, metadata = load_weights(options.init, self.contract.hash)
            self.system.restore(metadata.notes["system"])
            fill(self.system, tensors, options.init.name)
        self.system.to(self.device)
        size = sum(p.numel() for p in self.system.parameters()) / 1e6
        print(f"{preset.name}: {len(self.dataset)} frames, {size:.2f} M parameters, {self.device}", flush=True)

    def run(self, stage: str) -> dict[str, Any]:
        """Train one stage and write `<preset>.safetensors`; returns the held-out figures.

        Raises:
            UnknownNameError: the system has no such stage; lists those that it has.
            ConfigError: the preset doesn't say how to train it.
        """
        training, where = self.preset.training, f"{self.preset.name}.yaml: training: stages"
        if stage not in self.system.stages():
            raise UnknownNameError("stage", stage, self.system.stages())
        config = parse(SystemStageConfig, training["stages"].get(stage), f"{where}: {stage}")
        options = self.options
        mixed = options.mixed and bfloat16_pays(self.device)
        made = SystemStage(
            self.system, stage, self.dataset, self.bank, self.contract, config, training["frame_s"], mixed
        )
        bounds = LoopConfig.of_stage(stage, training, config, **options.bounds(stage), patience=options.patience)
        judge: Callable[[nn.Module], dict[str, Any]] = self._judge  # type: ignore[assignment]
        loop = Loop(self.system, made, bounds, self.options.out, judge)
        loop.run()
        self.system.load_state_dict(loop.average.state_dict())
        figures = self._judge(self.system)
        notes = {"stage": stage, "steps": loop.step, "minutes": round(loop.elapsed_s / 60, 1), "metrics": figures}
        if loop.team.leads:
            self._export(self.system, self.preset.name, notes)
        return figures

    def _export(self, system: System, name: str, notes: dict[str, Any]) -> Path:
        path = self.options.out / f"{name}.safetensors"
        metadata = Metadata(
            policy=self.preset.policy,
            preset=self.preset.name,
            contract_hash=self.contract.hash,
            model=self.preset.model,
            vocabulary=self.eyes.vocabulary.metadata(),
            training={"frames": len(self.dataset), "date": time.strftime("%Y-%m-%d"), **notes},
            notes={"eyes": self.eyes.mark, "system": self.system.notes()},
        )
        save_weights(path, system, metadata)
        return path

    def _chunks(self) -> torch.Tensor:
        frames = self.dataset.train[:: max(1, len(self.dataset.train) // 50_000)]
        return torch.from_numpy(self.dataset.labels["chunk"][frames])

    @torch.no_grad()
    def _judge(self, system: System) -> dict[str, Any]:
        """Open-loop errors of drawn chunks at step 8, on trained and on held-out frames."""
        rng, figures, labels = np.random.default_rng(0), {}, self.dataset.labels
        training = system.training
        system.eval()
        for name, frames in (("train", self.dataset.train), ("held", self.dataset.held_out)):
            index = np.sort(rng.choice(frames, min(JUDGED_FRAMES, len(frames)), replace=False))
            seen = with_past(self.dataset, index, system, self.preset.training["frame_s"])
            sight = self.bank.sight(seen, labels["instruction"][seen])
            if not system.acts:
                continue
            wanted = labels["chunk"][index]
            noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0)).to(self.device)
            drawn = system.draw(sight, noise)
            chunk = system.physical(drawn.chunk).float().cpu().numpy()
            error = chunk[:, _STEP] - wanted[:, _STEP]
            figures[f"{name}/cm"] = float(10.0 * np.median(np.linalg.norm(error[:, :3], axis=1)))
            figures[f"{name}/cm_mean"] = float(10.0 * np.linalg.norm(error[:, :3], axis=1).mean())
            figures[f"{name}/grip"] = float((np.sign(chunk[:, _STEP, -1]) == np.sign(wanted[:, _STEP, -1])).mean())
            figures[f"{name}/passes"] = drawn.passes
        system.train(training)
        if self.options.play is not None and system.acts:
            figures[SUCCESS] = self.options.play(self._export(system, "candidate", {}))
        return figures
