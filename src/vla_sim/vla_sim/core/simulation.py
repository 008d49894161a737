"""The simulated robot on the link: the world, its clock, and its resets, without pacing and without ROS."""

from __future__ import annotations

from vla_core.errors import ConfigError
from vla_core.types import NS, RobotState
from vla_sim.core.link import CameraLink, HardwareLink
from vla_sim.core.records import Start
from vla_sim.core.robot_world import RobotWorld

TICK_NS = 1_000_000
START_NS = NS  # the clock starts at 1 s: on the ROS clock 0 means "no time yet"


class Simulation:
    """One tick is 1 ms. Time only grows, also over a reset.

    Args:
        world: Runs at 1 kHz.
        link: Name of the shared-memory link.
        lockstep: Whether the world waits for the command of each tick.
        start: What the world is filled from first.

    Attributes:
        tick: Number of the current tick.
        generation: Counts resets.
        epoch_ns: Stamp of the last reset.
        instruction: What the world was filled for.
        robot_state: State at the current tick.
        started: Whether the run has begun since the reset (kept by the pacing).

    Raises:
        ConfigError: the scene's timestep isn't 1 ms, or its cameras don't share a rate of whole milliseconds.
        UnknownObjectError: the start's instruction is no task of the scene.
    """

    def __init__(self, world: RobotWorld, link: str, lockstep: bool, start: Start) -> None:
        _check_timestep(float(world.scene["timestep_s"]))
        self.world = world
        self.camera_period_ns = camera_period_ns(world.scene["cameras"])
        self.tick = -1
        self.generation = 0
        self.epoch_ns = START_NS
        self.started = False
        self.instruction = ""
        self.robot_state: RobotState = world.robot_state()
        self.hardware = HardwareLink(link, lockstep, world.torque_limit_nm, world.gripper_force_limit_n)
        self.cameras = CameraLink(link)
        try:
            self.reset(start)
        except Exception:
            self.close()
            raise

    @property
    def stamp_ns(self) -> int:
        """Time of the current tick [ns, ROS clock]."""
        return START_NS + self.tick * TICK_NS

    @property
    def at_camera_instant(self) -> bool:
        """Whether the cameras take a picture at this tick."""
        return self.stamp_ns % self.camera_period_ns == 0

    def reset(self, start: Start) -> str:
        """Fill the world anew; the clock moves on to the next camera instant. Returns the instruction."""
        self.instruction = self.world.reset(
            start.seed, start.instruction or None, split=start.split, family=start.family or None
        )
        ahead_ns = (self.stamp_ns // self.camera_period_ns + 1) * self.camera_period_ns
        self.epoch_ns = max(ahead_ns, START_NS)
        self.tick = (self.epoch_ns - START_NS) // TICK_NS
        self.world.time_offset_ns = self.epoch_ns
        self.generation += 1
        self.started = False
        self.robot_state = self.world.robot_state()
        self.cameras.describe(self.generation, start)
        return self.instruction

    def publish_state(self) -> None:
        """Write the state of this tick to the link."""
        self.hardware.publish(self.tick, self.stamp_ns, self.epoch_ns, self.robot_state)

    def hand_snapshot(self) -> None:
        """Give this tick's world to the camera process."""
        self.cameras.hand(self.stamp_ns, self.world.snapshot())

    def step(self) -> None:
        """Advance by one tick under the newest command."""
        command, state = self.hardware.command[0], self.robot_state
        motion = command[self.world.command][: len(state.q_rad)]
        width_m, force_n = (command[f"gripper_{name}"][: len(state.gripper_width_m)] for name in ("width", "force"))
        self.world.step(motion, width_m, force_n)
        self.tick += 1
        self.robot_state = self.world.robot_state()

    def close(self) -> None:
        """Remove our mailboxes."""
        self.hardware.close()
        self.cameras.close()


def camera_period_ns(cameras: list[dict[str, float]]) -> int:
    """Time between pictures of a scene's cameras [ns]; a whole number of 10 ms, so that joint states coincide."""
    rates = {float(camera["rate_hz"]) for camera in cameras}
    fix = "set rate_hz in the scene file"
    if len(rates) != 1:
        raise ConfigError(f"camera rates {sorted(rates)} Hz", "one rate for all cameras of a scene", fix)
    period_s = 1.0 / rates.pop()
    period_ns = round(period_s * 100) * 10 * TICK_NS
    if period_ns == 0 or abs(period_ns - period_s * NS) > 1.0:
        raise ConfigError(f"a camera period of {period_s * 1e3:g} ms", "a multiple of 10 ms, e.g. 20 Hz", fix)
    return period_ns


def _check_timestep(timestep_s: float) -> None:
    if abs(timestep_s * NS - TICK_NS) > 1.0:
        raise ConfigError(f"timestep_s {timestep_s:g}", "0.001, the tick of the link", "mend the scene file")
