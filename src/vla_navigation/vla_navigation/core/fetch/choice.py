"""SayCan (Ahn et al. 2022): of all skills, the one that language calls for and that the robot can do now.

    score(skill) = p(skill is what is wanted | instruction) · p(skill succeeds | state)          (section 3)

The first factor is a softmax over sentence similarities (the paper scores completions of a language model; whoever has
one puts it in their place), the second comes from map and body: a thing that isn't known, a hand that is full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vla_core.errors import ConfigError, InstructionError
from vla_core.types import Float64
from vla_navigation.core.task.meaning import Meaning

#: Of cosines: 0.1 more of similarity makes a skill e times as likely.
_TEMPERATURE = 0.1
#: Texts (N,) → unit vectors (N,D).
Embed = Callable[[Sequence[str]], Float64]


@dataclass(frozen=True, slots=True)
class Option:
    """A skill that could be called for.

    Attributes:
        description: What somebody would say who wants it: 'bring me the mug'.
        meaning: What it does.
        affordance: How likely it succeeds now, 0..1; 0: it can't be done.
    """

    description: str
    meaning: Meaning
    affordance: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen and why; likeness, language and scores (N,) in the order of the options."""

    option: Option
    likeness: Float64
    language: Float64
    scores: Float64


def choose(instruction: str, options: Sequence[Option], embed: Embed) -> Choice:
    """The option of the highest score.

    Raises:
        ConfigError: an affordance isn't within 0..1.
        InstructionError: none of them can be done.
    """
    values = np.array([option.affordance for option in options])
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise ConfigError(f"affordances {values.tolist()}", "0..1", "mend what rates the skills")
    if not values.any():
        raise InstructionError(
            f"'{instruction}' with nothing that can be done", "a skill that can", "look around first"
        )
    vectors = embed([instruction, *(option.description for option in options)])
    likeness = vectors[1:] @ vectors[0]
    language = np.exp((likeness - likeness.max()) / _TEMPERATURE)
    language /= language.sum()
    scores: Float64 = language * values
    return Choice(options[int(scores.argmax())], likeness, language, scores)
