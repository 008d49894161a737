"""Octo (Octo Model Team 2024): one trunk on tokens of task and observations, readout tokens, small heads on these.

Every observation has a tokenizer of its own; attention is block-wise (blocks/blockwise.py): observations see the task
and the past, readouts see them and are seen by nobody. A diffusion head draws the chunk from the readout's embedding,
so that the trunk runs once per observation. Observations and heads are added without touching the trunk: `added` names
those that the `start` weights don't know; what was there before isn't computed otherwise than it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import asset_path
from vla_policy.core.blocks.attention import learned
from vla_policy.core.blocks.blockwise import TASK, BlockwiseConfig, BlockwiseTransformer, Ring
from vla_policy.core.blocks.observation_tokenizers import make_tokenizer
from vla_policy.core.blocks.readout_heads import ReadoutHead, Sampling, make_head
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, Prelude, System
from vla_policy.core.weights import fill, read_weights


@dataclass(frozen=True, slots=True)
class OctoConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        trunk: See BlockwiseConfig.
        history: Observations in a window.
        observations: By name, see TokenizerConfig.
        heads: By name, see readout_heads.py.
        readouts: Readout tokens per head and observation; their mean is what the head gets.
        head: Which one acts. sampling: How, see Sampling.
        start: Weight file that all but the added parts come from, as in Preset.weights; empty: from nothing.
        added: Observations and heads that are new, in the order in which they came.
    """

    trunk: dict[str, Any]
    history: int
    observations: dict[str, Any]
    heads: dict[str, Any]
    readouts: int
    head: str
    sampling: dict[str, Any]
    start: str = ""
    added: tuple[str, ...] = ()

    def check(self) -> OctoConfig:
        """Return self.

        Raises:
            UnknownNameError: an added part or the acting head isn't there; lists what is.
            ConfigError: a name stands for two things, or nothing was there before the added parts.
        """
        both = set(self.observations) & set(self.heads)
        if both or not set(self.observations) - set(self.added):
            got = f"observations {sorted(self.observations)}, heads {sorted(self.heads)}, added {sorted(self.added)}"
            raise ConfigError(got, "different names, and one observation that isn't added", "mend the preset")
        for name in self.added:
            if name not in self.observations and name not in self.heads:
                raise UnknownNameError("observation or head", name, [*self.observations, *self.heads])
        if self.head not in self.heads:
            raise UnknownNameError("head", self.head, self.heads)
        return self


class Octo(System):
    """See the module."""

    static = True

    def __init__(self, config: OctoConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.history = config.check(), config.history
        self.sampling = parse(Sampling, config.sampling, "decoding: sampling")
        trunk = parse(BlockwiseConfig, config.trunk, "model: trunk")
        width, heads = trunk.width, config.heads.items()
        self.trunk = BlockwiseTransformer(trunk)
        self.task = nn.Linear(sizes.text, width)
        tokenizers = {n: make_tokenizer(n, part, sizes, width) for n, part in config.observations.items()}
        self.needs = frozenset().union(*(tokenizer.needs for tokenizer in tokenizers.values()))
        self.tokenizers = nn.ModuleDict(tokenizers)
        self.places = nn.ParameterDict({n: learned(config.history, t.count, width) for n, t in tokenizers.items()})
        self.readouts = nn.ParameterDict({n: learned(config.history, config.readouts, width) for n, _ in heads})
        self.learning = list(config.heads)
        self.heads = nn.ModuleDict({n: make_head(part, sizes, width, f"model: heads: {n}") for n, part in heads})

    def fit(self, data: Fitting) -> None:
        """See System; with `start` weights, all that they know is as it was.

        Raises:
            WeightsError: they are missing or corrupt, or don't fit this preset without its added parts.
        """
        super().fit(data)
        if self.config.start:
            self.begin(read_weights(asset_path(self.config.start))[0], self.config.start)

    def begin(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Take over the weights of an Octo without the added parts.

        Raises:
            WeightsError: they belong to another one; lists the keys.
        """
        new = {key: value for key, value in self.state_dict().items() if self._is_added(key)}
        fill(self, {**new, **tensors}, source)

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """All that learns, or only the added parts."""
        added = [parameter for name, parameter in self.named_parameters() if self._is_added(name)]
        return {"system": list(self.parameters()), "added": added}

    def enter(self, stage: str) -> None:
        """See System: old heads have nothing to learn where only the added parts do."""
        self.learning = [name for name in self.config.heads if stage != "added" or name in self.config.added]

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Of every head that learns, at every observation of the window."""
        seen = self.observe(sight)
        return {
            name: self.heads[name].loss(self.embedding(name, seen).flatten(0, 1), labels.chunk, labels.known)  # type: ignore[operator]
            for name in self.learning
        }

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """What the acting head says at the newest observation."""
        return self.draw_by(self.config.head, sight, noise)

    def draw_by(self, head: str, sight: Sight, noise: Tensor) -> Drawn:
        """The same by any head."""
        return self._draw(head, sight, noise, self._head(head).further(noise, self.sampling))

    def prelude(self, sight: Sight, noise: Tensor) -> Prelude:
        """The noise that is drawn on the way."""
        return Prelude((self._head(self.config.head).further(noise, self.sampling),))

    def draw_behind(self, sight: Sight, noise: Tensor, made: Sequence[Tensor]) -> Drawn:
        """The rest."""
        return self._draw(self.config.head, sight, noise, made[0])

    def observe(self, sight: Sight) -> dict[str, Ring]:
        """Task and observations of the windows, rings by name; added observations are rings of their own."""
        task, known = (part[self.history - 1 :: self.history] for part in (sight.text, sight.text_mask))
        moment = torch.full((task.shape[1],), TASK, device=task.device)
        rings = {"task": self.trunk(self.task(task), moment, known)}
        old = [name for name in self.config.observations if name not in self.config.added]
        rings["observations"] = self._run([self._tokens(name, sight) for name in old], rings)
        for name in self.config.added:
            if name in self.config.observations:
                rings[name] = self._run([self._tokens(name, sight)], rings)
        return rings

    def embedding(self, head: str, seen: dict[str, Ring]) -> Tensor:
        """What a head's readouts have read at every observation, (B,history,C).

        A head sees the task, and of the observations those that are as old as it is or older.
        """
        added = self.config.added
        younger = added[added.index(head) :] if head in added else added
        readouts = self.readouts[head].expand(len(seen["task"].valid), -1, -1, -1)
        ring = self._run([readouts], {name: ring for name, ring in seen.items() if name not in younger})
        return ring.hidden.view(readouts.shape).mean(2)

    def _draw(self, head: str, sight: Sight, noise: Tensor, further: Tensor) -> Drawn:
        newest = self.embedding(head, self.observe(sight))[:, -1]
        return self._head(head).draw(newest, noise, self.sampling, further)

    def _head(self, name: str) -> ReadoutHead:
        return cast(ReadoutHead, self.heads[name])

    def _tokens(self, name: str, sight: Sight) -> Tensor:
        """Of one observation in all windows, (B,history,N,C)."""
        tokens: Tensor = self.tokenizers[name](sight)
        placed: Tensor = tokens.view(-1, self.history, *tokens.shape[1:]) + self.places[name]
        return placed

    def _run(self, parts: list[Tensor], sees: dict[str, Ring]) -> Ring:
        """Tokens (B,history,N,C) as one ring."""
        tokens = torch.cat(parts, 2)
        batch, history, count = tokens.shape[:3]
        moment = torch.arange(history, device=tokens.device).repeat_interleave(count)
        valid = torch.ones(batch, history * count, dtype=torch.bool, device=tokens.device)
        ring: Ring = self.trunk(tokens.flatten(1, 2), moment, valid, list(sees.values()))
        return ring

    def _is_added(self, key: str) -> bool:
        """Whether a parameter or buffer belongs to an added part."""
        kind, _, rest = key.partition(".")
        return kind in ("tokenizers", "places", "readouts", "heads") and rest.partition(".")[0] in self.config.added


@SYSTEMS.register("octo")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Octo:
    return Octo(parse(OctoConfig, {**model, **decoding}, "preset"), sizes)
