"""One fault from a robot in motion to a robot in motion, and what was seen on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from vla_bringup.faults import full_disk
from vla_bringup.faults.fault import Answer, Fault, Outcome, Recovery, Told
from vla_bringup.faults.rig import Rig
from vla_bringup.faults.rigs import Rigs
from vla_core.errors import GraphError
from vla_core.types import NS

_GOES_ON_NS = NS
_STAYS_S = 0.5  # a latched stop is looked at for so long
_BEATS = 20


def run(fault: Fault, rigs: Rigs) -> Outcome:
    """Inject a fault and wait for its answer, its reports and its recovery.

    Raises:
        GraphError: one of them didn't come.
    """
    if fault.rig == "demo":
        rigs.close()
        return full_disk.run(fault, rigs.out / "demo")
    rig = rigs.get(fault.rig)
    try:
        return _run(fault, rigs, rig)
    except BaseException:
        rigs.close()  # nobody knows what state it is in
        raise


def _run(fault: Fault, rigs: Rigs, rig: Rig) -> Outcome:
    rig.ready()
    mark, watch = rig.mark(), rig.watch
    rig.start_clock()
    assert fault.inject is not None, fault.name
    with fault.inject(rig):
        seen = _ANSWERS[fault.answer](rig)
        beats = watch.beat
        if fault.kills != "safety_monitor_node" and fault.answer != Answer.ENDS:
            rig.until(lambda: watch.beat >= beats + _BEATS, "heartbeat of the monitor")
        rested_ns, violations = watch.rested_ns, dict(watch.violations)
        for told in fault.told:
            rig_until_told(rig, mark, told)
        if fault.stands:
            answer = rig.call("release")
            if answer.success:
                raise GraphError("a release while the cause stands", "a refusal", "see core/monitor.py")
            seen += f"; release refused: {answer.message}"
    recovered = _RECOVERIES[fault.recovery](rig, rigs, fault)
    violations |= watch.violations
    counts, repeated = tuple(rig.told(mark, told) for told in fault.told), rig.repeated(mark)
    stopped = (
        None if fault.answer == Answer.GOES_ON or rested_ns is None else max(0.0, (rested_ns - rig.begin_ns) / 1e6)
    )
    broken = tuple(f"{kind}: {value:.3g}" for kind, value in violations.items())
    return Outcome(seen, stopped, counts, recovered, broken, repeated)


def rig_until_told(rig: Rig, mark: Mapping[str, int], told: Told) -> None:
    """Wait for a report; a graph that has ended tells nothing more."""
    if rig.told(mark, told) == 0:
        rig.until(lambda: rig.told(mark, told) > 0, f"'{told.pattern}' from {told.where}")


# -- answers ----------------------------------------------------------------------------------------------------------


def _goes_on(rig: Rig) -> str:
    watch, accepted = rig.watch, rig.executor.chunks_accepted
    rig.until(
        lambda: watch.stamp_ns - rig.begin_ns > _GOES_ON_NS and rig.executor.chunks_accepted > accepted,
        "motion that goes on",
    )
    if "stop" in watch.modes or rig.safety.stopped or watch.rested_ns is not None:
        got = f"an arm that stopped: modes {sorted(watch.modes)}, braked by {sorted(watch.braked_by)}, "
        got += f"'{rig.safety.cause}', rest at {watch.rested_ns}"
        raise GraphError(got, "motion that goes on", "see the logs")
    rejected = rig.executor.last_error
    return "went on" + (f"; {rejected}" if rejected else "")


def _holds(rig: Rig) -> str:
    watch = rig.watch
    rig.until(lambda: watch.rested_ns is not None and watch.mode == "hold", "hold")
    if "stop" in watch.modes or rig.safety.stopped:
        got = f"an emergency stop: braked by {sorted(watch.braked_by)}, '{rig.safety.cause}'"
        raise GraphError(got, "a hold after what was planned", "see the logs")
    return f"held; executor {rig.executor.mode}"


def _withdrawn(rig: Rig) -> str:
    """Whoever gave the instruction is back and knows of none."""
    answer = _holds(rig)
    rig.until(lambda: rig.executor.mode == "idle", "withdrawn instruction")
    return answer


def _stops(rig: Rig) -> str:
    watch = rig.watch
    rig.until(lambda: watch.rested_ns is not None and "stop" in watch.modes, "stop of the servo")
    return "braked"


def _latched(rig: Rig) -> str:
    watch = rig.watch
    rig.until(lambda: rig.safety.stopped and watch.rested_ns is not None, "latched stop")
    return f"braked; {rig.safety.cause}"


def _ends(rig: Rig) -> str:
    sentence = ""
    try:
        rig.until(lambda: False, "end of the graph")
    except GraphError as error:
        sentence = error.got
    if "ended with status" not in sentence:
        raise GraphError(sentence, "an end that is told", "see the logs")
    rig.note(sentence)
    beats = rig.watch.beat
    _wait(lambda: rig.watch.beat >= beats + _BEATS, "heartbeat of the monitor, which survives")
    _wait(lambda: rig.watch.rested_ns is not None or "stop" in rig.watch.modes, "rest after the end")
    return sentence


def _is_safe(rig: Rig) -> str:
    """The robot's clock goes on; the limits are watched all the time."""
    rig.until(lambda: rig.watch.stamp_ns - rig.begin_ns > _GOES_ON_NS, "robot whose clock goes on")
    return f"servo {rig.watch.mode}, executor {rig.executor.mode}" + f"; {rig.safety.cause}" * rig.safety.stopped


def _wait(done: Callable[[], bool], what: str, wait_s: float = 30.0) -> None:
    """Like Rig.until, for a graph that has ended."""
    deadline = time.monotonic() + wait_s
    while not done():
        if time.monotonic() > deadline:
            raise GraphError(f"no {what}", what, "see the logs")
        time.sleep(0.01)


_ANSWERS: Mapping[Answer, Callable[[Rig], str]] = {
    Answer.GOES_ON: _goes_on,
    Answer.HOLDS: _holds,
    Answer.WITHDRAWN: _withdrawn,
    Answer.STOPS: _stops,
    Answer.LATCHED: _latched,
    Answer.ENDS: _ends,
    Answer.SAFE: _is_safe,
}

# -- recoveries -------------------------------------------------------------------------------------------------------


def _by_itself(rig: Rig, rigs: Rigs, fault: Fault) -> bool:
    rig.until(lambda: rig.watch.moves, "motion by itself")
    return True


def _by_release(rig: Rig, rigs: Rigs, fault: Fault) -> bool:
    """It must not move before."""
    began = time.monotonic()
    while time.monotonic() - began < _STAYS_S:
        rig.runner.check()
        if rig.watch.moves or not rig.safety.stopped:
            raise GraphError("an arm that moves before its release", "a latched stop", "see core/monitor.py")
        time.sleep(0.01)
    rig.until(lambda: rig.call("release").success, "release")
    rig.until(lambda: rig.watch.moves, "motion after the release")
    return True


def _by_either(rig: Rig, rigs: Rigs, fault: Fault) -> bool:
    def moves() -> bool:
        return (not rig.safety.stopped or rig.call("release").success) and rig.watch.moves

    rig.until(moves, "motion by itself or after a release")
    return True


def _by_goal(rig: Rig, rigs: Rigs, fault: Fault) -> bool:
    rig.begin()
    rig.until(lambda: rig.watch.moves, "motion after the goal")
    return True


def _by_restart(rig: Rig, rigs: Rigs, fault: Fault) -> bool:
    rigs.close()
    rigs.get(fault.rig).ready()
    return True


_RECOVERIES: Mapping[Recovery, Callable[[Rig, Rigs, Fault], bool]] = {
    Recovery.NONE: lambda rig, rigs, fault: True,  # its answer was motion
    Recovery.AUTOMATIC: _by_itself,
    Recovery.RELEASE: _by_release,
    Recovery.GOAL: _by_goal,
    Recovery.RESTART: _by_restart,
    Recovery.EITHER: _by_either,
}
