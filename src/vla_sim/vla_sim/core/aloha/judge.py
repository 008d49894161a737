"""Has the bimanual task been carried out? Read from ground truth, so only for benchmarks and training labels."""

from __future__ import annotations

from vla_sim.core.aloha.world import AlohaWorld

TRANSFER_M = 0.10  # the cube hangs in the left hand at least this high
LIFT_M = 0.10
TILT_M = 0.02  # height between the bar's ends at most: 4 degrees


def succeeded(world: AlohaWorld) -> bool:
    """True when the world satisfies its task now."""
    position, rotation = world.thing_pose()
    left, right, other = world.touched()
    if world.task.family == "transfer_cube":
        return left and not right and not other and bool(position[2] > TRANSFER_M)
    level = abs(float(rotation[2, 1])) * 0.3 < TILT_M
    return left and right and not other and level and bool(position[2] > LIFT_M)
