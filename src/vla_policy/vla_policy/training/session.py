"""From a folder of demonstrations to a weight file, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError, WeightsError
from vla_policy.core.drawing.future_state import Gripper
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.preset import Preset, load_preset, parse
from vla_policy.core.text import minilm
from vla_policy.core.vocabulary import Vocabulary
from vla_policy.core.weights import Metadata, fill, fill_parts, load_weights, read_weights, save_weights
from vla_policy.training.dataset import Dataset
from vla_policy.training.disturbed_rows import DisturbedRows
from vla_policy.training.future_rows import FutureRows
from vla_policy.training.metrics import evaluate
from vla_policy.training.precision import bfloat16_pays
from vla_policy.training.stages import (
    CorrectorConfig,
    CorrectorStage,
    ExpertStage,
    HeadStage,
    JointStage,
    Material,
    Stage,
    StageConfig,
)
from vla_policy.training.statistics import fit_statistics
from vla_policy.training.texts import TextBank
from vla_policy.training.trainer import Loop, LoopConfig

JUDGED_FRAMES = 512


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Attributes:
        data, out: Folders.
        preset: Name or .yaml of the policy preset.
        minutes, steps: Bounds by stage name; 0: no limit.
        init: Checkpoint (.pt) or weight file (.safetensors) to start from, or None.
        device: 'auto', 'cpu' or 'cuda'.
        mixed: Convolutions and transformer blocks in bfloat16, on devices that compute in it.
        learning_rate: Peak, instead of the stage's own; 0: the stage's own.
        future: In the expert stage half of the chunks begin at a future state.
        play: Share of episodes that a weight file wins in closed loop; None: nobody plays while training.
        patience: See LoopConfig.
    """

    data: Path
    out: Path
    preset: str
    minutes: dict[str, float]
    steps: dict[str, int]
    init: Path | None
    device: str = "auto"
    mixed: bool = True
    learning_rate: float = 0.0
    future: bool = False
    play: Callable[[Path], float] | None = None
    patience: int = 0

    def bounds(self, stage: str) -> dict[str, Any]:
        """What of a stage's LoopConfig these options say."""
        bounds = {"minutes": self.minutes.get(stage, 0.0), "steps": self.steps.get(stage, 0)}
        return bounds | ({"learning_rate": self.learning_rate} if self.learning_rate else {})


@dataclass(frozen=True, slots=True)
class Begin:
    """Parts that don't begin at random but as in another preset's weights: what it sees serves others too.

    Attributes:
        policy: That preset.
        parts: Attributes of the model, with their normalisation.
    """

    policy: str
    parts: tuple[str, ...]


class Session:
    """Data, texts and model of one training run."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.preset: Preset = load_preset(options.preset)
        self.contract: Contract = load_contract(self.preset.contract)
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(found if options.device == "auto" else options.device)
        self.dataset = Dataset(options.data, self.contract)
        torch.manual_seed(self.preset.training["seed"])
        self.model = KeypointFlow(configure(self.preset.model, self.contract)).to(self.device)
        self.model.vision.to(memory_format=torch.channels_last)  # as its input lies: convolutions needn't reorder
        encoder = minilm(self.model.config.language.max_tokens)
        training = self.preset.training
        names = {"shift_px": "shift_px", "colour": "colour", "blur_probability": "blur_probability"}
        self.material = Material(
            self.dataset,
            TextBank(self.dataset.instructions, encoder, self.device),
            TextBank(self.dataset.object_names, encoder, self.device),
            self.device,
            {argument: training[key] for argument, key in names.items()},
            training["objects_per_frame"],
            options.mixed and bfloat16_pays(self.device),
        )
        if options.init is None:
            fit_statistics(self.model, self.dataset, self.material.instructions)
            if begin := training.get("begin"):
                self._begin_with(parse(Begin, begin, f"{self.preset.name}.yaml: training: begin"))
        else:
            self._start_from(options.init)
        count = sum(p.numel() for p in self.model.parameters())
        sizes = f"{len(self.dataset)} frames ({len(self.dataset.held_out)} held out)"
        texts = f"{len(self.dataset.instructions)} instructions, {len(self.dataset.object_names)} object names"
        print(f"{sizes}, {texts}, {count / 1e6:.2f} M parameters, {self.device}", flush=True)

    def run(self, stage: str) -> dict[str, Any]:
        """Train one stage and write `<preset>.safetensors`; returns the held-out metrics."""
        loop = self._loop(stage)
        loop.run()
        self.model.load_state_dict(loop.average.state_dict())
        figures = self._judge(self.model)
        self.export({"stage": stage, "steps": loop.step, "minutes": round(loop.elapsed_s / 60, 1), "metrics": figures})
        return figures

    def export(self, notes: dict[str, Any]) -> Path:
        """Write the model as it is now, with its vocabulary."""
        vocabulary = Vocabulary.from_corpus(self.dataset.instructions, self.dataset.object_names)
        notes = {"frames": len(self.dataset), "date": time.strftime("%Y-%m-%d"), **notes}
        path = self.options.out / f"{self.preset.name}.safetensors"
        metadata = Metadata(
            policy=self.preset.policy,
            preset=self.preset.name,
            contract_hash=self.contract.hash,
            model=self.preset.model,
            vocabulary=vocabulary.metadata(),
            training=notes,
        )
        save_weights(path, self.model, metadata)
        return path

    def _loop(self, stage: str) -> Loop:
        training = self.preset.training
        made, config = self._stage(stage)
        losses = {**training["losses"], "l1_before": 0.0}
        bounds = LoopConfig.of_stage(stage, training, config, **self.options.bounds(stage), losses=losses)
        return Loop(self.model, made, bounds, self.options.out, self._judge)

    def _stage(self, stage: str) -> tuple[Stage, StageConfig | CorrectorConfig]:
        training, where = self.preset.training, f"{self.preset.name}.yaml: training"
        model, material, cache = self.model, self.material, self.options.out / "percepts"
        if stage == "corrector":
            if model.config.corrector is None:
                raise ConfigError("a stage 'corrector' for a model without one", "model: corrector", "add it")
            chosen = parse(CorrectorConfig, training[stage], f"{where}: {stage}")
            steps, seed = self.preset.decoding["steps"], training["seed"]
            return CorrectorStage(model, material, chosen, cache, self.contract, steps, seed), chosen
        config = parse(StageConfig, training[stage], f"{where}: {stage}")
        if stage == "joint":
            return JointStage(model, material, config), config
        future = None
        if self.options.future or stage == "head":
            if model.config.future is None:
                raise ConfigError("future states for a model that can't be told", "model: future", "add it")
            gripper = parse(Gripper, training.get("gripper"), f"{where}: gripper")
            future = FutureRows(self.contract, gripper, config.longest_offset_steps)
        if stage == "head" and future is not None:
            rows = DisturbedRows(future, config.prefix_steps, config.drift_m, config.gripper_steps)
            return HeadStage(model, material, config, cache, rows), config
        return ExpertStage(model, material, config, cache, future), config

    def _judge(self, model: nn.Module) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        figures: dict[str, Any] = {}
        judge: Callable[..., dict[str, float]] = evaluate
        for name, frames in (("train", self.dataset.train), ("held", self.dataset.held_out)):
            chosen = rng.choice(frames, min(JUDGED_FRAMES, len(frames)), replace=False)
            steps, views = self.preset.decoding["steps"], self.contract.view_names
            values = judge(model, self.dataset, chosen, self.material.instructions, views, steps)
            figures |= {f"{name}/{key}": value for key, value in values.items()}
        return figures

    def _begin_with(self, begin: Begin) -> None:
        path = load_preset(begin.policy).weights_path()
        fill_parts(self.model, read_weights(path)[0], begin.parts, path.name)

    def _start_from(self, path: Path) -> None:
        if path.suffix == ".safetensors":
            tensors, _ = load_weights(path, self.contract.hash)
        elif path.is_file():
            tensors = torch.load(path, map_location=self.device, weights_only=True)["average"]
        else:
            raise WeightsError(f"no file {path}", "a checkpoint or a weight file", "check --init")
        fill(self.model, tensors, path.name)
