"""Frozen eyes: the shipped policy's vision and language, asked for every object that was ever taught.

Stage 2, first half, of every system: images and words to a Sight (core/sight.py). It is computed once per frame, so
that all systems train on the same cached sights and differ in nothing but what they do with them. The shipped policy's
own judge says whether the instruction is carried out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.contract import Contract
from vla_core.types import Observation
from vla_policy.core.blocks.fusion import Percept
from vla_policy.core.blocks.language import Reading
from vla_policy.core.blocks.semantic import FEATURES, Semantic
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.openvino_graph import Run, compiled
from vla_policy.core.policy import GroundedRoles
from vla_policy.core.preset import load_preset
from vla_policy.core.processors import state_features
from vla_policy.core.sight import Sight, written
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.text import minilm
from vla_policy.core.vocabulary import Vocabulary
from vla_policy.core.weights import fill, load_weights

_SEEING = ("vision.", "language.", "grounding.", "generic", "fusion.state_", "fusion.xyz_", "fusion.locate.")


class Seen(NamedTuple):
    """What the eyes make of images, whatever is asked of the robot; fields as in Sight."""

    pooled: Tensor
    uv: Tensor
    presence: Tensor
    xyz: Tensor
    generic: Tensor
    fine: Tensor
    semantic: Tensor | None = None


class Told(NamedTuple):
    """An instruction as read; fields as in Sight, and what the judge reads of it."""

    text: Tensor
    text_mask: Tensor
    sentence: Tensor
    reading: Reading


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the shipped policy's judge says: progress 0..1, probability of success, and where it sees what is meant."""

    progress: float
    success: float
    roles: GroundedRoles


class Look(nn.Module):
    """Everything that depends on the images, and that costs.

    Attributes:
        semantic: The second encoder, where a system needs it.
    """

    queries: Tensor

    def __init__(self, model: KeypointFlow, queries: Tensor) -> None:
        super().__init__()
        self.model = model
        self.semantic: Semantic | None = None
        self.register_buffer("queries", queries, persistent=False)

    def forward(
        self, rgb: Tensor, roles: Tensor, queries: Tensor, sentence: Tensor, state: Tensor
    ) -> tuple[Tensor, ...]:
        """Seen, then the judge's uv, presence, xyz, progress, success.

        Args:
            rgb: (B,V,H,W,3) images.
            roles, queries, sentence: A Reading.
            state: (B,S) state features.
        """
        model, reading = self.model, Reading(roles, queries, sentence)
        features = model.see(rgb)
        percept, _ = model.perceive(features, reading)
        condition = model.fusion(percept, reading, state)
        role_xyz = condition.role_xyz * model.fusion.xyz_std + model.fusion.xyz_mean
        judged = (
            percept.uv,
            torch.sigmoid(percept.presence),
            role_xyz,
            condition.progress,
            torch.sigmoid(condition.success),
        )
        seen = self.see(features, state, rgb=rgb)
        return *(part for part in seen if part is not None), *judged

    def see(self, features: Tensor, state: Tensor, shift: Tensor | None = None, rgb: Tensor | None = None) -> Seen:
        """What the eyes make of images.

        Args:
            features: (B,V,C,h,w) of the first encoder.
            state: (B,S) state features.
            shift: (B,V,2) an augmentation's shift, which is taken out again.
            rgb: (B,V,H,W,3) the images, for the second encoder.
        """
        model, fusion = self.model, self.model.fusion
        located = model.grounding(features, self.queries.expand(state.shape[0], -1, -1))
        generic = model.generic(features, model.grounding.cells)
        percept = Percept(located.uv, located.presence, located.pooled, generic)
        semantic = None if self.semantic is None or rgb is None else self.semantic(rgb, percept.uv)
        if shift is not None:
            percept = percept.moved(-shift)
        presence = torch.sigmoid(percept.presence)
        whitened = (state - fusion.state_mean) / fusion.state_std
        seen = torch.cat([percept.pooled, percept.uv, presence[..., None]], -1).transpose(1, 2).flatten(2)
        place = fusion.locate(torch.cat([seen, whitened[:, None].expand(-1, seen.shape[1], -1)], -1))
        xyz = place * fusion.xyz_std + fusion.xyz_mean
        fine = F.avg_pool2d(features.flatten(0, 1), 2)
        fine = fine.view(*features.shape[:2], *fine.shape[1:])
        return Seen(percept.pooled, percept.uv, presence, xyz, percept.generic, fine, semantic)


class Eyes:
    """See the module.

    Attributes:
        names: Every object that was taught, in the order of a Sight.
        queries: float32 (K,C) what they look like.
        mark: Of the weights that a Sight depends on; systems are made for one pair of eyes.
    """

    def __init__(self, model: KeypointFlow, vocabulary: Vocabulary, contract: Contract, mark: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.vocabulary, self.names, self.mark = vocabulary, vocabulary.objects, mark
        self.contract, self.features = contract, state_features(contract)
        self.encoder = minilm(model.config.language.max_tokens)
        told = self.tell(list(self.names))
        self.queries = told.reading.queries[:, 0]
        self.look = Look(model, self.queries)
        self._graph: Run | None = None
        self._told_last: tuple[str, Told] | None = None
        self._shown = False

    @classmethod
    def load(cls, preset: str, contract: Contract) -> Eyes:
        """Of a keypoint_flow preset.

        Raises:
            WeightsError: its weight file is missing, corrupt or of another contract.
        """
        chosen = load_preset(preset)
        path = chosen.weights_path()
        tensors, metadata = load_weights(path, contract.hash)
        model = KeypointFlow(configure(chosen.model, contract))
        fill(model, tensors, path.name)
        return cls(model, Vocabulary.from_metadata(metadata.vocabulary), contract, _mark(tensors))

    @property
    def sizes(self) -> Sizes:
        """What they and the contract fix for systems."""
        config, language = self.model.config, self.model.config.language
        return Sizes(
            horizon=config.horizon,
            action_width=config.action_width,
            state=config.state,
            views=config.views,
            names=len(self.names),
            features=config.vision.features,
            generic=config.fusion.generic_tokens,
            text=language.text_width,
            sentence=language.sentence_width,
            semantic=FEATURES,
        )

    def provide(self, needs: frozenset[str]) -> None:
        """Make what a system needs beside what is always there, see System.needs.

        Raises:
            SetupError: the second encoder's weights are missing.
        """
        self._shown = self._shown or "rgb" in needs
        if "semantic" in needs and self.look.semantic is None:
            self.look.semantic = Semantic()
            self._graph = None

    @torch.no_grad()
    def tell(self, sentences: list[str]) -> Told:
        """Read sentences (N rows); as many word tokens as the longest has."""
        text, reader = self.encoder.encode(sentences), self.model.language
        tokens, mask, sentence = (torch.from_numpy(part) for part in text)
        longest = int(mask.sum(1).max())
        tokens, mask = tokens[:, :longest], mask[:, :longest]
        reading = reader(tokens, mask, sentence)
        words = (tokens - reader.token_mean) / reader.token_std * mask[..., None]
        return Told(words, mask, reading.sentence, reading)

    def observe(self, observation: Observation) -> tuple[Sight, Judgement]:
        """What is to be known of one observation (batch of 1).

        Raises:
            UnknownObjectError: the instruction names something that was never taught.
        """
        told, state = self._told(observation.instruction), self.features.forward(observation.state)
        inputs = (observation.rgb[None], *(part.numpy() for part in told.reading), state[None])
        if self._graph is None:
            self._graph = compiled(self.look, tuple(torch.from_numpy(np.array(part)) for part in inputs))[0]
        *seen, uv, presence, xyz, progress, success = self._graph(inputs)
        sight = self.sight(Seen(*(torch.from_numpy(part.copy()) for part in seen)), told, torch.from_numpy(state[None]))
        if self._shown:
            rgb = torch.from_numpy(observation.rgb[None].copy())
            sight = sight._replace(rgb=rgb, instruction=written([observation.instruction]))
        roles = GroundedRoles(uv[0].copy(), presence[0].copy(), xyz[0].copy())
        return sight, Judgement(float(progress[0]), float(success[0]), roles)

    def sight(self, seen: Seen, told: Told, state: Tensor) -> Sight:
        """Put a Sight together; state features (B,S) in their units."""
        fusion = self.model.fusion
        return Sight(
            pooled=seen.pooled,
            uv=seen.uv,
            presence=seen.presence,
            xyz=seen.xyz,
            generic=seen.generic,
            text=told.text,
            text_mask=told.text_mask,
            sentence=told.sentence,
            state=(state - fusion.state_mean) / fusion.state_std,
            tool=state[:, :3],
            fine=seen.fine,
            semantic=seen.semantic,
        )

    def _told(self, instruction: str) -> Told:
        if self._told_last is None or self._told_last[0] != instruction:
            self.vocabulary.check(instruction)
            self._told_last = instruction, self.tell([instruction])
        return self._told_last[1]


def _mark(tensors: Mapping[str, Tensor]) -> str:
    """Head, corrector and judge may be trained on without making other eyes of them."""
    digest = hashlib.sha256()
    for name in sorted(name for name in tensors if name.startswith(_SEEING)):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()[:16]
