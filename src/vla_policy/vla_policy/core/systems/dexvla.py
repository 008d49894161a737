"""DexVLA (Wen et al. 2025): a vision-language model with a plug-in diffusion expert that has one head per robot.

Three stages: the expert alone, with an encoder of its own instead of the VLM, on data of all robots; alignment of VLM
and expert for one robot; adaptation to tasks, in which the VLM says what is done next before the expert acts. Action
tokens read the VLM; what was said scales and shifts them (FiLM) on their way to the expert. Section 3.1: the loss is
that of denoising plus that of the next word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import UnknownNameError
from vla_core.files import asset_path
from vla_policy.core import objectives
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.decoder import mean_of
from vla_policy.core.blocks.dit import DitConfig
from vla_policy.core.blocks.observation_encoder import ObservationEncoder, ObservationEncoderConfig
from vla_policy.core.blocks.plug_in_expert import PlugInExpert, RobotConfig
from vla_policy.core.blocks.sight_tokens import Film
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.diffusion import Diffusion, DiffusionConfig, Predict
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, Prelude, System
from vla_policy.core.weights import fill, read_weights
from vla_policy.core.words import BEGIN, PAD

EXPERT, ALIGN, ADAPT = STAGES = ("expert", "align", "adapt")


@dataclass(frozen=True, slots=True)
class DexVlaConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        robot: Name of the preset's robot.
        robots: Others that the weights serve too, by name: RobotConfig.
        start: Weight file of a DexVLA to which `robot` is added; empty: none.
        backbone: See blocks/backbones.py. frozen: It doesn't learn in stage `align`.
        encoder: See ObservationEncoderConfig; takes the VLM's place in stage `expert`.
        expert: See DitConfig. diffusion: See DiffusionConfig.
        action_tokens: That read the VLM.
        samples: Noise samples per row and training step.
        steps: DDIM steps per chunk. words: Most tokens that are said before.
        state: State features that encoder and backbone were made for; 0: those of `robot`.
    """

    robot: str
    robots: dict[str, Any]
    start: str
    backbone: dict[str, Any]
    frozen: bool
    encoder: dict[str, Any]
    expert: dict[str, Any]
    diffusion: dict[str, Any]
    action_tokens: int
    samples: int
    steps: int
    words: int
    state: int = 0


class DexVla(System):
    """See the module. Static behind what conditions the expert.

    Attributes:
        robot: Whose chunks are learnt and drawn, see `use`.
        stage: Which of the three was entered last; says how chunks are conditioned.
    """

    static = True
    speaks = True

    def __init__(self, config: DexVlaConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.robot, self.stage = config, config.robot, ADAPT
        seen = replace(sizes, state=config.state or sizes.state)
        self.backbone = make_backbone(config.backbone, seen)
        encoder = parse(ObservationEncoderConfig, config.encoder, "model: encoder")
        self.encoder = ObservationEncoder(encoder, seen)
        width, out = self.backbone.decoder_config.width, encoder.features
        self.action_tokens = nn.Embedding(config.action_tokens, width)
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))
        self.reasoning = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.film = Film(width, out)
        self.expert = PlugInExpert(parse(DitConfig, config.expert, "model: expert"), sizes.horizon, out, seen.state)
        own = {config.robot: RobotConfig(sizes.state, sizes.action_width)}
        others = {name: parse(RobotConfig, part, f"model: robots: {name}") for name, part in config.robots.items()}
        for name, robot in (others | own).items():
            self.expert.add(name, robot)
        self.diffusion = Diffusion(parse(DiffusionConfig, config.diffusion, "model: diffusion"))

    def use(self, robot: str) -> None:
        """Learn and draw another robot's chunks from now on.

        Raises:
            UnknownNameError: no such robot; lists the known ones.
        """
        head = self.expert.head(robot)
        self.changes += 1
        self.robot, self.action_mean, self.action_std = robot, head.mean.clone(), head.std.clone()

    def fit(self, data: Fitting) -> None:
        """Take the normalisation of the robot's actions, and what `start` knows of others.

        Raises:
            WeightsError: the `start` weights are missing, corrupt or of another size.
        """
        super().fit(data)
        head = self.expert.head(self.robot)
        if self.config.start:
            self._start(asset_path(self.config.start))
        head.mean.copy_(self.action_mean)
        head.std.copy_(self.action_std)

    def notes(self) -> dict[str, Any]:
        """Which stage it was."""
        return {**super().notes(), "stage": self.stage}

    def restore(self, notes: dict[str, Any]) -> None:
        """Inverse of `notes`."""
        super().restore(notes)
        self.stage = notes["stage"]

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Expert, alignment, adaptation; in the first all robots' heads learn, in the others only that of `robot`."""
        bridge: list[nn.Module] = [self.action_tokens, self.project]
        aligned = bridge if self.config.frozen else [*bridge, self.backbone]
        adapted = [*bridge, self.backbone, self.reasoning, self.film]
        expert = self.expert.learning(self.robot)
        return {
            EXPERT: [*self.encoder.parameters(), *self.expert.parameters()],
            ALIGN: [*expert, *(p for part in aligned for p in part.parameters())],
            ADAPT: [*expert, *(p for part in adapted for p in part.parameters())],
        }

    def enter(self, stage: str) -> None:
        """Condition chunks as the stage does, and freeze what doesn't learn in it.

        Raises:
            UnknownNameError: no such stage.
        """
        if stage not in STAGES:
            raise UnknownNameError("stage", stage, STAGES)
        self.stage = stage
        learning = {id(p) for p in self.stages()[stage]}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in learning)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Denoising, and the words of the sub-task where it is said; several noise samples share one condition."""
        losses, read, said = {}, self._read(sight), None
        if read is not None and self.stage == ADAPT:
            said = self.backbone.texts(labels.subtask)
            losses["subtask"] = self.backbone.word_loss(read, said)
        times = self.config.samples
        predict = self._predict(self._condition(sight, read, said).repeat(times, 1))
        chunk, known = labels.chunk.repeat(times, 1, 1), labels.known.repeat(times, 1)
        losses["denoising"] = objectives.denoising(self.diffusion, predict, chunk, known)
        return losses

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Say what is done next, then DDIM from noise under it."""
        tensors, passes, text = self.prelude(sight, noise)
        drawn = self.draw_behind(sight, noise, tensors)
        return Drawn(drawn.chunk, passes + drawn.passes, text)

    def prelude(self, sight: Sight, noise: Tensor) -> Prelude:
        """The condition, and the words that it depends on."""
        read, said, passes = self._read(sight), None, 0
        texts: tuple[str, ...] = ()
        if read is not None and self.stage == ADAPT:
            begin = torch.full((len(noise), 1), BEGIN, device=noise.device)
            words, passes = self.backbone.say(read, begin, self.config.words)
            said = torch.cat([begin, words], 1)
            texts = tuple(self.backbone.words.decode(row) for row in words.tolist())
        return Prelude((self._condition(sight, read, said),), passes, texts)

    def draw_behind(self, sight: Sight, noise: Tensor, made: Sequence[Tensor]) -> Drawn:
        """DDIM from noise."""
        return Drawn(self.diffusion.sample(self._predict(made[0]), noise, self.config.steps), self.config.steps)

    def _seen(self, sight: Sight) -> Sight:
        """With the state as encoder and backbone know it."""
        return sight._replace(state=self.expert.head(self.robot).seen(sight.state))

    def _read(self, sight: Sight) -> Read | None:
        """By the VLM, which takes no part in the first stage."""
        return None if self.stage == EXPERT else self.backbone.read(self._seen(sight))

    def _condition(self, sight: Sight, read: Read | None, said: Tensor | None) -> Tensor:
        """What conditions the expert, (B,W): from its own encoder, or from the VLM and the words (B,L) said."""
        state: Tensor = self.expert.head(self.robot).state(sight.state)
        if read is None:
            encoded: Tensor = self.encoder(self._seen(sight))
            return state + encoded
        tokens = self.action_tokens.weight.expand(len(state), -1, -1)
        everyone = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device)
        action: Tensor = self.project(self.backbone.extend(read, tokens, everyone)[0]).mean(1)
        if said is not None:
            hidden, _ = self.backbone.extend(read, self.backbone.embedding(said))
            action = self.film(action, self.reasoning(mean_of(hidden, said != PAD)))
        return state + action

    def _predict(self, condition: Tensor) -> Predict:
        def predict(actions: Tensor, time: Tensor) -> Tensor:
            progress = (time + 1) / self.config.diffusion["steps"]
            out: Tensor = self.expert(self.robot, actions, progress, condition)
            return out

        return predict

    def _start(self, path: Path) -> None:
        """Take everything from another DexVLA's weights but what belongs to the robot that is added."""
        tensors, metadata = read_weights(path)
        self.restore(metadata.notes["system"])
        own = ("action_mean", "action_std", f"expert.heads.{self.robot}.")
        kept = {name: part for name, part in self.state_dict().items() if name.startswith(own)}
        fill(self, {**tensors, **kept}, path.name)


@SYSTEMS.register("dexvla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> DexVla:
    return DexVla(parse(DexVlaConfig, {**model, **decoding}, "preset"), sizes)
