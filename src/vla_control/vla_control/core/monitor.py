"""The watch: what is stale, diverges, pushes or isn't a number; what of it stops the robot, and what is only said.

Ages are on the ROS clock, so a simulation that stands still ages nobody. A finding acts only after it has lasted
`confirm_s` of real time: simulated clocks move in steps, and messages of one step arrive one after the other.

Without a clock no age can be told: while the ROS clock is 0 (simulated time, and nobody publishes /clock) the robot is
stopped, and free again with the first reading. Stamps ahead of the clock would never age either, so they stop it too.

A source that is only warned about and comes too seldom is stale all the time, not just shortly before each message:
after a gap longer than its limit it counts as fresh again when the next message has come in time.

Two things are watched on the monotonic clock, because they must go on while the ROS clock stands still: the servo's
heartbeat, and the diagnostics of hardware (`HardwareWatch`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vla_control.core.hardware_watch import HardwareWatch
from vla_core.errors import ConfigError

#: What is watched by age: topics, and the servo itself by its STATUS record.
SOURCES = ("joint_states", "observation", "action_chunk", "executor_state", "control_state", "servo")
_ONLY_WITH_A_TASK = "action_chunk"
_NO_CLOCK = "the ROS clock is 0: nobody publishes /clock (on a physical robot: use_sim_time:=false)"


@dataclass(frozen=True, slots=True)
class MonitorParameters:
    """Limits of the watch.

    Attributes:
        max_age_s: Source -> age above which it is stale [s, ROS clock]; one for each of SOURCES.
        stop_on_stale: Sources whose staleness stops the robot; the others are warned about.
        confirm_s: How long a finding must last before it acts [s, monotonic clock].
        tracking_error_m: Largest distance of the tool from its target [m].
        tracking_error_rad: Largest rotation of the tool from its target [rad].
        tracking_time_s: ... that either may last [s, ROS clock].
        contact_force_n: Largest external force at the tool [N].
        contact_time_s: ... that may last this long [s, ROS clock].
        max_ahead_s: A stamp may lie so far ahead of the ROS clock [s].
        servo_timeout_s: Without a heartbeat of the servo for longer the robot is stopped [s, monotonic clock]; 0: it
            may wait for others (lockstep).
        hardware: Diagnostics whose errors stop the robot, see HardwareWatch.
        hardware_timeout_s: They are missed after so long [s, monotonic clock].
    """

    max_age_s: Mapping[str, float]
    stop_on_stale: tuple[str, ...]
    confirm_s: float
    tracking_error_m: float
    tracking_error_rad: float
    tracking_time_s: float
    contact_force_n: float
    contact_time_s: float
    max_ahead_s: float
    servo_timeout_s: float
    hardware: tuple[str, ...]
    hardware_timeout_s: float

    def __post_init__(self) -> None:
        unknown = sorted(set(self.stop_on_stale) - set(SOURCES))
        if unknown:
            raise ConfigError(f"stop_on_stale {unknown}", f"of {', '.join(SOURCES)}", "correct config/control.yaml")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Fields of SafetyState; ages in the order of SOURCES, -1: never seen.

    Attributes:
        events: Those of the warnings that tell of a change; what was never seen isn't there yet.
    """

    stopped: bool
    cause: str
    warnings: tuple[str, ...]
    age_s: tuple[float, ...]
    events: tuple[str, ...]


class Monitor:
    """Latches stops. Times are [ns]: `now_ns` and stamps on the ROS clock, `wall_ns` on the monotonic clock.

    Args:
        params: Limits.
        stopped_cause: Not empty: begin with a latched stop.
    """

    def __init__(self, params: MonitorParameters, stopped_cause: str = "") -> None:
        self._params = params
        self._cause = stopped_cause
        self._stamps: dict[str, int] = {}
        self._gap_s: dict[str, float] = {}  # between the newest two stamps of a source [s]
        self._task_since_ns: int | None = None
        self._now_ns = 0
        self._over_ns: dict[str, int] = {}  # since when a limit has been exceeded, on the ROS clock
        self._lasting: dict[str, str] = {}  # limits exceeded for too long
        self._since_wall_ns: dict[str, int] = {}  # since when a finding has stood, on the monotonic clock
        self._beat_wall_ns: int | None = None
        self._silent: dict[str, str] = {}  # the servo's heartbeat is missed
        self._hardware = HardwareWatch(params.hardware, params.hardware_timeout_s)

    @property
    def latched(self) -> bool:
        """Whether a stop waits for its release."""
        return bool(self._cause)

    def seen(self, source: str, stamp_ns: int) -> None:
        """A message of `source` with this stamp has come; one from the future is forgotten with the next."""
        known_ns = self._stamps.get(source, stamp_ns)
        if self._is_ahead(known_ns):
            self._gap_s.pop(source, None)
            self._stamps[source] = stamp_ns
        elif stamp_ns > known_ns:
            begun_ns = self._task_since_ns if source == _ONLY_WITH_A_TASK else None
            self._gap_s[source] = (stamp_ns - max(known_ns, begun_ns or 0)) * 1e-9
            self._stamps[source] = stamp_ns
        else:
            self._stamps.setdefault(source, stamp_ns)

    def numbers(self, source: str, finite: bool) -> None:
        """Whether the newest message of `source` holds only finite numbers; if not, the robot stops at once."""
        if not finite:
            self.stop(f"{source} holds numbers that aren't finite")

    def heartbeat(self, wall_ns: int) -> None:
        """The servo has ticked at `wall_ns`."""
        self._beat_wall_ns = wall_ns

    def diagnostic(self, name: str, level: int, message: str, wall_ns: int) -> None:
        """A status of somebody's diagnostics; those that don't concern the hardware are passed over."""
        self._hardware.take(name, level, message, wall_ns)

    def tracking(self, stamp_ns: int, error_m: float, error_rad: float) -> None:
        """Distance [m] and rotation [rad] of the tool from its target."""
        p = self._params
        largest = f"{p.tracking_error_m:g} m or {p.tracking_error_rad:g} rad"
        text = f"tracking error above {largest} for {p.tracking_time_s:g} s"
        over = error_m > p.tracking_error_m or error_rad > p.tracking_error_rad
        self._limit("tracking", text, stamp_ns, over, p.tracking_time_s)

    def contact(self, stamp_ns: int, force_n: float) -> None:
        """External force at the tool [N]."""
        p = self._params
        text = f"contact force above {p.contact_force_n:g} N for {p.contact_time_s:g} s"
        self._limit("contact", text, stamp_ns, force_n > p.contact_force_n, p.contact_time_s)

    def instruction(self, text: str, now_ns: int) -> None:
        """A task begins, or ends with an empty text."""
        self._task_since_ns = now_ns if text else None

    def stop(self, cause: str) -> None:
        """Latch a stop; the first cause is kept."""
        self._cause = self._cause or cause

    def release(self) -> str:
        """Let go of a latched stop.

        Returns:
            Empty when released, else the reason why it stays: what stopped the robot still stands.
        """
        found = {**self._lasting, **self._stale(self._params.stop_on_stale), **self._ahead(), **self._silent}
        found |= self._hardware.errors
        standing = "; ".join([_NO_CLOCK] * (self._now_ns == 0) + list(found.values()))
        if not standing:
            self._cause = ""
        return standing

    def evaluate(self, now_ns: int, wall_ns: int) -> Verdict:
        """Judge everything at `now_ns`; call it often."""
        if now_ns < self._now_ns:  # the clock was set back: a new simulation
            self._stamps.clear()
            self._gap_s.clear()
            self._over_ns.clear()
            self._lasting.clear()
            self._task_since_ns = None if self._task_since_ns is None else now_ns
        self._now_ns = now_ns
        stale = self._stale(SOURCES)
        self._silent = self._missed_beat(wall_ns)
        findings = {**stale, **self._lasting, **self._ahead(), **self._silent}
        self._since_wall_ns = {name: self._since_wall_ns.get(name, wall_ns) for name in findings}
        warnings = []
        for name, text in findings.items():
            if (wall_ns - self._since_wall_ns[name]) * 1e-9 < self._params.confirm_s:
                continue
            if name in stale and name not in self._params.stop_on_stale:
                warnings.append(text)
            else:
                self.stop(text)
        for text in self._hardware.errors.values():
            self.stop(text)
        warnings += self._hardware.warnings(wall_ns)
        unseen = [f"{name} was never seen" for name in SOURCES if self._missing(name)]
        ages = tuple(self._age_s(name) if name in self._stamps else -1.0 for name in SOURCES)
        cause = self._cause or (_NO_CLOCK if now_ns == 0 else "")
        return Verdict(bool(cause), cause, (*warnings, *unseen), ages, tuple(warnings))

    def _limit(self, name: str, text: str, stamp_ns: int, over: bool, time_s: float) -> None:
        if not over:
            self._over_ns.pop(name, None)
            self._lasting.pop(name, None)
        elif (stamp_ns - self._over_ns.setdefault(name, stamp_ns)) * 1e-9 >= time_s:
            self._lasting[name] = text

    def _missed_beat(self, wall_ns: int) -> dict[str, str]:
        limit_s = self._params.servo_timeout_s
        if self._beat_wall_ns is None or limit_s == 0.0 or (wall_ns - self._beat_wall_ns) * 1e-9 <= limit_s:
            return {}
        return {"servo heartbeat": f"the servo has not ticked for {limit_s:g} s"}

    def _missing(self, name: str) -> bool:
        return name not in self._stamps and (name != _ONLY_WITH_A_TASK or self._task_since_ns is not None)

    def _stale(self, names: tuple[str, ...]) -> dict[str, str]:
        """Sources that have fallen silent, come too seldom or haven't answered a task, each with its sentence."""
        found = {}
        for name in names:
            limit_s, age_s = self._params.max_age_s[name], self._age_s(name)
            gap_s = 0.0 if name in self._params.stop_on_stale else self._gap_s.get(name, 0.0)
            if max(age_s, gap_s) > limit_s:
                found[name] = f"{name} is older than {limit_s:g} s"
        return found

    def _ahead(self) -> dict[str, str]:
        """Sources whose stamps lie ahead of the clock, each with its sentence; none while there is no clock."""
        limit_s = self._params.max_ahead_s
        return {
            f"{name} ahead": f"{name} is stamped more than {limit_s:g} s ahead of the ROS clock"
            for name, stamp_ns in self._stamps.items()
            if self._is_ahead(stamp_ns)
        }

    def _is_ahead(self, stamp_ns: int) -> bool:
        return self._now_ns > 0 and (stamp_ns - self._now_ns) * 1e-9 > self._params.max_ahead_s

    def _age_s(self, name: str) -> float:
        """Age [s], 0 for stamps ahead of now; chunks are due from the task's beginning on. -inf: nothing to judge."""
        stamp_ns = self._stamps.get(name)
        if name == _ONLY_WITH_A_TASK:
            if self._task_since_ns is None:
                return -math.inf if stamp_ns is None else 0.0
            stamp_ns = max(self._task_since_ns, stamp_ns or 0)
        if stamp_ns is None:
            return -math.inf
        return max(0.0, (self._now_ns - stamp_ns) * 1e-9)
