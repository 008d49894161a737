"""What contract, eyes and training data fix for every system."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes that no preset chooses.

    Attributes:
        horizon, action_width: T and D of a chunk as the model sees it.
        state: State features. views: Cameras. names: Taught objects. features: Channels of the first encoder.
        generic: Scene tokens per view. text: Width of word states. sentence: Of the sentence embedding.
        semantic: Channels of the second encoder; 0 where there is none.
    """

    horizon: int
    action_width: int
    state: int
    views: int
    names: int
    features: int
    generic: int
    text: int
    sentence: int
    semantic: int = 0


@dataclass(frozen=True, slots=True)
class Fitting:
    """What must be known of the training data before the first step.

    Attributes:
        chunk: (N,T,D) actions in physical units (`processors.action_transform`).
        names: (K,C) queries that stand for the taught object names.
        texts: All that may be said: instructions, sub-tasks, answers.
    """

    chunk: Tensor
    names: Tensor
    texts: tuple[str, ...]
