"""Find by touch in which direction a door, a drawer or a lid gives way.

A policy says where to take hold and roughly in which direction to pull; the mechanism decides the rest. As in the
active impedance adaptation of ManipLLM (Li et al., 2023): perturb the present direction, push with the
same force in each of the directions for a moment, and keep the one that moved most. A hinged door turns the direction
on its way, so every stretch begins with such a trial. What moves it back the way it came doesn't count, or a door
would be closed again; where nothing counts, the next trial looks in a wider cone.

The skill knows no robot. `Handle` is what it needs of one; `ToolHandle` is an arm under impedance control, which pushes
with a force F by a target F / K ahead of the tool, K being the stiffness (`target_ahead`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vla_core.errors import ConfigError
from vla_core.types import Float64


class Handle(Protocol):
    """Something that is held and can be pushed."""

    def push(self, force_n: Float64, duration_s: float) -> Float64:
        """Push with a constant force, then hold.

        Args:
            force_n: [N] float64 (3,), base frame.
            duration_s: How long [s].

        Returns:
            Displacement of the held point [m], float64 (3,), base frame.
        """


@dataclass(frozen=True, slots=True)
class ActiveImpedanceParameters:
    """How a direction is looked for.

    Attributes:
        force_n: Size of every push [N].
        directions: Perturbed directions per trial, beside the present one.
        cone_rad: Largest angle of a perturbation [rad]; doubled, up to half a turn, while nothing moves.
        probe_s: How long each direction is tried [s].
        stretch_s: How long the best one is kept [s].
        still_m: Smaller displacements are none [m].
        patience: Trials in a row without a displacement after which the skill gives up.

    Raises:
        ConfigError: one isn't > 0.
    """

    force_n: float
    directions: int
    cone_rad: float
    probe_s: float
    stretch_s: float
    still_m: float
    patience: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}", "a number > 0", "correct the parameters")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        distance_m: How far the held point is from where it was [m].
        direction: The last direction kept, unit vector (3,).
        trials: Number of trials.
        moved: Whether `distance_m` has reached what was asked for; False: it gave up, or ran out of trials.
    """

    distance_m: float
    direction: Float64
    trials: int
    moved: bool


class ActiveImpedance:
    """Keeps a direction and adapts it.

    Args:
        params: Tuning.
        direction: First direction (3,), any length but zero.
        rng: Draws the perturbations.

    Raises:
        ConfigError: a direction without a length.
    """

    def __init__(self, params: ActiveImpedanceParameters, direction: Float64, rng: np.random.Generator) -> None:
        length = float(np.linalg.norm(direction))
        if not (np.isfinite(length) and length > 0.0):
            raise ConfigError(f"direction {np.asarray(direction).tolist()}", "a vector with a length", "name one")
        self.direction: Float64 = np.asarray(direction, np.float64) / length
        self._params, self._rng, self._cone_rad = params, rng, params.cone_rad
        self._heading: Float64 = np.zeros(3)  # of the last displacement; none at first

    def candidates(self) -> Float64:
        """Unit vectors to try, float64 (N+1,3): the present direction, then perturbed ones within the cone."""
        found = [self.direction]
        for _ in range(self._params.directions):
            # even over the cap: its height above the cone's base is uniform (Archimedes)
            cosine = self._rng.uniform(np.cos(self._cone_rad), 1.0)
            side = np.cross(self._rng.normal(size=3), self.direction)
            side /= np.linalg.norm(side)
            found.append(cosine * self.direction + np.sqrt(1.0 - cosine**2) * side)
        return np.array(found)

    def keep(self, candidates: Float64, displacements: Float64) -> bool:
        """Take the direction that moved most.

        Args:
            candidates, displacements: (N,3) what was tried and what it moved [m].

        Returns:
            Whether anything moved on. If not, the direction stays and the next candidates come from a wider cone.
        """
        onwards = displacements @ self._heading >= 0.0
        moved = np.where(onwards, np.linalg.norm(displacements, axis=1), 0.0)
        best = int(np.argmax(moved))
        if moved[best] < self._params.still_m:
            self._cone_rad = min(np.pi, 2.0 * self._cone_rad)
            return False
        self._cone_rad = self._params.cone_rad
        self.direction, self._heading = candidates[best], displacements[best]
        return True

    def move(self, handle: Handle, distance_m: float, max_trials: int) -> Outcome:
        """Push until the handle has come `distance_m` far.

        Args:
            handle: What is held.
            distance_m: From where it is now [m].
            max_trials: No more trials than this, >= 1.
        """
        params, way, idle = self._params, np.zeros(3), 0
        for trial in range(1, max_trials + 1):
            tried = self.candidates()
            moved = np.array([handle.push(params.force_n * d, params.probe_s) for d in tried])
            way += moved.sum(axis=0)
            if self.keep(tried, moved):
                idle = 0
                way += handle.push(params.force_n * self.direction, params.stretch_s)
            else:
                idle += 1
            far_m = float(np.linalg.norm(way))
            if far_m >= distance_m or idle >= params.patience or trial == max_trials:
                break
        return Outcome(far_m, self.direction, trial, far_m >= distance_m)


class ToolHandle:
    """Something that an arm under impedance control holds.

    Args:
        tool: Where the tool is [m], float64 (3,), base frame.
        follow: Sends the servo's target to a place (3,) of the tool [m] and returns at once.
        wait: Lets time pass [s].
        stiffness_n_m: Of the tool's spring, as it is in use (`control_state.stiffness` times `stiffness_n_m`).
        period_s: The target is led along with the tool so often, so that the force stays as the thing moves [s].
        settle_s: The arm comes to rest within, before a displacement is told [s].
    """

    def __init__(
        self, tool: Callable[[], Float64], follow: Callable[[Float64], None], wait: Callable[[float], None],
        stiffness_n_m: float, period_s: float, settle_s: float,
    ) -> None:  # fmt: skip
        self._tool, self._follow, self._wait = tool, follow, wait
        self._stiffness_n_m, self._period_s, self._settle_s = stiffness_n_m, period_s, settle_s

    def push(self, force_n: Float64, duration_s: float) -> Float64:
        """See Handle."""
        before = self._tool()
        for _ in range(max(1, round(duration_s / self._period_s))):
            self._follow(target_ahead(self._tool(), force_n, self._stiffness_n_m))
            self._wait(self._period_s)
        self._follow(self._tool())
        self._wait(self._settle_s)
        return self._tool() - before


def target_ahead(tool_m: Float64, force_n: Float64, stiffness_n_m: float) -> Float64:
    """Where the target must be (3,) [m] for an impedance of `stiffness_n_m` to push the tool at `tool_m` with force_n.

    The servo's force clamp bounds the push as any other.
    """
    return np.asarray(tool_m) + np.asarray(force_n) / stiffness_n_m
