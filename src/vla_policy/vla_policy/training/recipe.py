"""What `vla train` does, step after step: the `training: recipe` of a preset as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vla_core.errors import ConfigError
from vla_core.files import config_path, load_yaml
from vla_policy.core.preset import Preset, parse

SOURCES = ("episodes", "stills", "own_episodes", "metaworld")


@dataclass(frozen=True, slots=True)
class Make:
    """Demonstrations to add.

    Attributes:
        make: 'episodes' (the expert acts, disturbed), 'stills' (labelled single states) or 'own_episodes' (the
            newest weights act, the expert labels: DAgger), or 'metaworld' (Meta-World's own experts, disturbed).
        count: Seeds to play; of Meta-World: demonstrations per task.
        seed: First one.
        per_scene: Stills of one seed's scene.
        policy: Who acts in own episodes, with its shipped weights; empty: the policy that is being trained.
    """

    make: str
    count: int
    seed: int
    policy: str = ""
    per_scene: int = 2


@dataclass(frozen=True, slots=True)
class Train:
    """A stage to train, from the newest weights where there are some.

    Attributes:
        train: Name of the stage.
        steps: Optimiser steps.
        learning_rate: Peak, instead of the stage's own; 0: the stage's own.
        future: In the expert stage half of the chunks begin at a future state (VLASH).
    """

    train: str
    steps: int
    learning_rate: float = 0.0
    future: bool = False


Step = Make | Train


def read_recipe(preset: Preset, scale: float = 1.0) -> list[Step]:
    """Steps of a preset's recipe.

    Args:
        preset: Whose `training: recipe` to read, after the steps of `config/demonstrations/` that its
            `training: demonstrations` names.
        scale: Factor on all counts and steps, > 0.

    Raises:
        ConfigError: there is no recipe, a step is neither of the two kinds, or a name or number makes no sense.
    """
    if scale <= 0.0:
        raise ConfigError(f"scale {scale}", "a number above 0", "give --scale 1 for the whole recipe")
    lines = preset.training.get("recipe") or []
    if not isinstance(lines, list) or not lines:
        raise ConfigError(f"policy '{preset.name}' without training: recipe", "a list of steps", "write it there")
    if shared := preset.training.get("demonstrations"):
        lines = [*load_yaml(config_path("demonstrations", shared))["steps"], *lines]
    return [_step(line, f"{preset.name}.yaml: recipe: step {k}", scale) for k, line in enumerate(lines, 1)]


def _step(line: Any, where: str, scale: float) -> Step:
    step: Step = parse(Make, line, where) if isinstance(line, dict) and "make" in line else parse(Train, line, where)
    if isinstance(step, Make):
        _check(step.make in SOURCES and step.count > 0, f"{where}: {line}", f"make: {' | '.join(SOURCES)}, count > 0")
        return replace(step, count=max(1, round(scale * step.count)))
    _check(step.steps > 0, f"{where}: {line}", "steps > 0")
    return replace(step, steps=max(1, round(scale * step.steps)))


def _check(holds: bool, got: str, expected: str) -> None:
    if not holds:
        raise ConfigError(got, expected, "mend the preset")
