"""What a system of the literature is here: a network between frozen eyes and a normalised action chunk.

A system is one file in `core/systems/` (its configuration, its network, its losses, how it draws) and one preset in
`config/policies/`. Other packages add theirs by entry points of the group `vla_policy.systems`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from vla_core.registry import Registry
from vla_policy.core.drawing.field import Field
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes

MIN_ACTION_STD = 0.03  # 3 mm, 1.7 degrees: steps that hardly vary must not be blown up to unit noise


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions about the scenes of Q other observations, for systems that are co-trained on them.

    Attributes:
        sight: Q rows; the question stands where the instruction would.
        answers: Q texts.
    """

    sight: Sight
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """What demonstrations say about B observations.

    Attributes:
        chunk: (B,T,D) normalised actions.
        known: (B,T) bool; the other steps bear no loss.
        subtask: What is done next, in words, one per row.
        questions: Where the system asks for them by `questions_per_row`.
    """

    chunk: Tensor
    known: Tensor
    subtask: tuple[str, ...] = ()
    questions: Questions | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A system's answer.

    Attributes:
        chunk: (B,T,D) normalised actions.
        passes: Forward passes of the part that runs more than once per chunk (decoder, denoiser), 1 if none does.
        text: What was said on the way (sub-task, reasoning), one per row; empty for the silent ones.
    """

    chunk: Tensor
    passes: int
    text: tuple[str, ...] = ()


class Prelude(NamedTuple):
    """What a static system does before its graph.

    Attributes:
        tensors: For the graph, always of the same shapes.
        passes: Part of Drawn.passes. text: See Drawn.
    """

    tensors: tuple[Tensor, ...] = ()
    passes: int = 0
    text: tuple[str, ...] = ()


@runtime_checkable
class Fits(Protocol):
    """A block that takes something of the training data before the first step."""

    def fit(self, data: Fitting) -> None:
        """See System.fit."""


@runtime_checkable
class Notes(Protocol):
    """A block that keeps something in the weight file that is no tensor."""

    def notes(self) -> dict[str, Any]:
        """See System.notes."""

    def restore(self, notes: dict[str, Any]) -> None:
        """See System.restore."""


class System(nn.Module, ABC):
    """Base of all systems.

    Attributes:
        history: Observations that one answer looks at, `history_s` [s] apart. The rows of a Sight are then
            (B*history), one observation's past after the other's, oldest first.
        needs: Optional fields of Sight that must be there.
        acts: It draws chunks; False for what only serves others.
        speaks: Labels hold sub-tasks.
        questions_per_row: Questions in a training batch, per row.
        prefix_steps: For systems with a velocity field: most given steps that it was trained to continue.
        field_steps: Euler steps of that field.
        static: What `draw` does behind its `prelude` is the same whatever a sight holds: no branch, loop or shape
            follows from values, nothing is drawn by lot, nothing is kept. It can be recorded (core/recorded.py), and is
            then faster. Every class says it for itself, since it may draw otherwise than its base.
        changes: Rises whenever weights may change; graphs of before are worth nothing.
    """

    action_mean: Tensor
    action_std: Tensor
    history = 1
    history_s = 0.4
    needs: frozenset[str] = frozenset()
    acts = True
    speaks = False
    questions_per_row = 0.0
    prefix_steps: int | None = None
    field_steps = 0
    static = False
    changes = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.static = cls.__dict__.get("static", False)

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.register_buffer("action_mean", torch.zeros(sizes.horizon, sizes.action_width))
        self.register_buffer("action_std", torch.ones(sizes.horizon, sizes.action_width))

    @property
    def recordable(self) -> bool:
        """Whether it is static, and every block that says of itself whether it is."""
        return all(getattr(block, "static", True) for block in self.modules())

    def train(self, mode: bool = True) -> Self:
        """As nn.Module."""
        self.changes += 1
        return super().train(mode)

    def wanted(self) -> frozenset[str]:
        """Optional fields of Sight that the system or one of its blocks needs."""
        return self.needs.union(*(getattr(block, "needs", ()) for block in self.modules()))

    def fit(self, data: Fitting) -> None:
        """Take what must be known of the training data before the first step, with all blocks that want to know too."""
        self.action_mean.copy_(data.chunk.mean(0))
        self.action_std.copy_(data.chunk.std(0).clamp(min=MIN_ACTION_STD))
        for block in self.modules():
            if block is not self and isinstance(block, Fits):
                block.fit(data)

    def normalised(self, chunk: Tensor) -> Tensor:
        """Physical units (...,T,D) to what the network draws."""
        return (chunk - self.action_mean) / self.action_std

    def physical(self, chunk: Tensor) -> Tensor:
        """Inverse of `normalised`."""
        return chunk * self.action_std + self.action_mean

    def notes(self) -> dict[str, Any]:
        """What a weight file must hold beside tensors, such as a fitted vocabulary; JSON-ready.

        Blocks with notes of their own are asked too; theirs stand under their names.
        """
        return {name: block.notes() for name, block in self.named_modules() if name and isinstance(block, Notes)}

    def restore(self, notes: dict[str, Any]) -> None:
        """Inverse of `notes`, called before the tensors are loaded."""
        for name, block in self.named_modules():
            if name and isinstance(block, Notes):
                block.restore(notes[name])

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Which parameters learn in which training stage; most systems have one that learns all."""
        return {"system": list(self.parameters())}

    def enter(self, stage: str) -> None:
        """Told which stage begins, before its first batch; for systems whose losses aren't the same in all stages."""

    @abstractmethod
    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Every loss of one batch by name; the preset's `training: losses` weighs them."""

    @abstractmethod
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Answer without gradients; the same sight and noise (B,T,D) give the same answer."""

    def prelude(self, sight: Sight, noise: Tensor) -> Prelude:
        """What can't be recorded of `draw`, for static systems: more noise, words that are said."""
        return Prelude()

    def draw_behind(self, sight: Sight, noise: Tensor, made: Sequence[Tensor]) -> Drawn:
        """The rest of `draw`, given the prelude's tensors; text and passes without the prelude's."""
        return self.draw(sight, noise)

    def field(self, sight: Sight) -> Field | None:
        """The velocity field behind `draw` for the execution strategies that continue it; None where there is none."""
        return None


#: Makes a system from its preset's `model: system` and `decoding` sections.
SystemFactory = Callable[[dict[str, Any], dict[str, Any], Sizes], System]

SYSTEMS: Registry[SystemFactory] = Registry("system", "vla_policy.systems")
