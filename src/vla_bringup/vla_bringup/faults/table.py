"""All faults, and what the stack answers to each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from vla_bringup.faults.circling import shifted
from vla_bringup.faults.fault import Answer, Fault, Recovery, Told
from vla_bringup.faults.injections import (
    and_bad,
    chunk,
    clock_jump,
    dropped,
    far_away,
    flood,
    frozen_camera,
    hang,
    hang_thinking_policy,
    hardware_says,
    kill,
    no_chunks,
    pause,
    plan_with_nan,
    relayed,
    slow_camera,
    stop_button,
    swapped,
    with_nan,
    without_numbers,
)

_GOES_ON, _HOLDS, _WITHDRAWN, _STOPS, _LATCHED, _ENDS, _SAFE = Answer
_NONE, _AUTOMATIC, _RELEASE, _GOAL, _RESTART, _EITHER = Recovery


def _monitor(pattern: str) -> Told:
    return Told("safety_monitor_node", pattern)


def _rejected(pattern: str) -> tuple[Told, ...]:
    return (Told("executor_node", f"chunk rejected: .*{pattern}"),)


def _restarted(node: str) -> Told:
    return Told("runner", f"{node} ended with status -9; it is started again")


def _ended(node: str, status: int) -> Told:
    return Told("runner", f"{node} ended with status {status}: ")


_BAD_CHUNKS = (
    Fault("chunk twice", "the same chunk comes twice", chunk(lambda good: (good, good)), _GOES_ON,
          _rejected("a newer observation stamp"), _NONE),
    Fault("chunk with NaN", "a number of a chunk isn't finite", chunk(and_bad(with_nan)), _GOES_ON,
          _rejected("aren't finite"), _NONE),
    Fault("chunk of another contract", "the hash of a chunk is another one",
          chunk(and_bad(lambda c: replace(c, contract_hash="0123456789abcdef"))), _GOES_ON,
          _rejected("got contract 0123456789abcdef"), _NONE),
    Fault("chunk with another dt", "the steps of a chunk lie 0.1 s apart instead of 0.05 s",
          chunk(and_bad(lambda c: replace(c, dt_s=0.1))), _GOES_ON, _rejected("got dt_s = 0.1"), _NONE),
    Fault("late chunk", "a chunk answers an observation of 1.2 s ago", chunk(lambda good: (shifted(good, -1.2), good)),
          _GOES_ON, _rejected("got a chunk of 1.2. s age"), _NONE),
    Fault("chunk of another shape", "the actions of a chunk lack a column",
          chunk(and_bad(lambda c: replace(c, actions=c.actions[:, :-1], action_names=c.action_names[:-1]))), _GOES_ON,
          _rejected("got action space"), _NONE),
    Fault("chunk for another task", "a chunk answers another instruction",
          chunk(and_bad(lambda c: replace(c, instruction="dance"))), _GOES_ON, _rejected("answers 'dance'"), _NONE),
    Fault("chunks out of order", "an older answer comes after a newer one", chunk(swapped), _GOES_ON,
          _rejected("a newer observation stamp"), _NONE),
    Fault("chunk out of reach", "a chunk leads two metres away", chunk(and_bad(far_away)), _GOES_ON,
          _rejected("leash"), _NONE),
)  # fmt: skip

_LINE = (
    Fault("horizon runs out", "no more chunks come", no_chunks, _HOLDS,
          (_monitor("action_chunk is older"),), _AUTOMATIC),
    *_BAD_CHUNKS,
    Fault("plan with NaN", "numbers that aren't finite in the executor's shared memory", plan_with_nan, _GOES_ON,
          (Told("diagnostics", "servo_node: .*non_finite_input"),), _NONE),
    Fault("stop at full speed", "the stop service is called while a joint is at its speed limit", stop_button, _LATCHED,
          (_monitor("stop: stop service"),), _RELEASE),
    Fault("joint state with NaN", "a joint position isn't finite", relayed("joint_states", without_numbers), _LATCHED,
          (_monitor("stop: joint_states holds numbers"),), _RELEASE),
    Fault("joint state gone", "joint_states are lost on the way", relayed("joint_states", dropped), _LATCHED,
          (_monitor("stop: joint_states is older"),), _RELEASE, stands=True),
    Fault("clock jumps ahead", "/clock jumps 100 s ahead", partial(clock_jump, seconds=100.0), _LATCHED,
          (_monitor("stop: .*is older than"),), _RELEASE, stands=True),
    Fault("clock jumps back", "/clock jumps 100 s back", partial(clock_jump, seconds=-100.0), _LATCHED,
          (_monitor("stop: .* ahead of the ROS clock"),), _RELEASE, stands=True),
    Fault("joint too hot", "a driver reports an error of its joint temperatures", hardware_says(2, "joint 4 at 91 °C"),
          _LATCHED, (_monitor("stop: panda: joint temperatures: joint 4 at 91"),), _RELEASE, stands=True),
    Fault("joint warm", "a driver warns of its joint temperatures", hardware_says(1, "joint 4 at 81 °C"), _GOES_ON,
          (_monitor("panda: joint temperatures: joint 4 at 81"),), _NONE),
    Fault("monitor hangs", "SIGSTOP of safety_monitor_node", hang("safety_monitor_node"), _STOPS,
          (Told("diagnostics", "servo_node: stop"),), _AUTOMATIC, kills="safety_monitor_node"),
    Fault("monitor killed", "kill -9 of safety_monitor_node", kill("safety_monitor_node"), _LATCHED,
          (_restarted("safety_monitor_node"), _monitor("stop: the safety monitor before this one")), _RELEASE,
          kills="safety_monitor_node"),
    Fault("executor hangs", "SIGSTOP of executor_node", hang("executor_node"), _HOLDS,
          (_monitor("executor_state is older"),), _AUTOMATIC),
    Fault("executor killed", "kill -9 of executor_node", kill("executor_node"), _HOLDS,
          (_restarted("executor_node"), _monitor("executor_state is older")), _AUTOMATIC, kills="executor_node"),
    Fault("flood of chunks", "a process floods action_chunk with rubbish as fast as it can",
          flood("action_chunk"), _SAFE, _rejected("got 160 actions for a horizon of 20"), _EITHER),
)  # fmt: skip

_CLOCKED = (
    Fault("robot hangs", "SIGSTOP of sim_node for 1.5 s: no states, no clock", pause("sim_node", 1.5), _STOPS,
          (Told("diagnostics", "servo_node: .*stale_state"),), _AUTOMATIC),
    Fault("servo overrun", "SIGSTOP of the servo loop for 1.2 s", pause("servo_loop", 1.2), _STOPS,
          (Told("diagnostics", r"servo_node: \d{4,} ticks missed their deadline"),), _AUTOMATIC),
    Fault("servo hangs", "SIGSTOP of the servo loop", hang("servo_loop"), _LATCHED,
          (_monitor("stop: (the servo has not ticked|servo is older)"),), _RELEASE, stands=True),
    Fault("robot killed", "kill -9 of sim_node", kill("sim_node"), _ENDS, (_ended("sim_node", -9),), _RESTART,
          kills="sim_node"),
    Fault("servo loop killed", "kill -9 of the servo loop", kill("servo_loop"), _ENDS,
          (_ended("servo_node", 2), Told("servo_node", "ERROR link: got the servo loop ended with code -9")), _RESTART,
          kills="servo_node", slow=True),
    Fault("servo node killed", "kill -9 of servo_node", kill("servo_node"), _ENDS, (_ended("servo_node", -9),),
          _RESTART, kills="servo_node", slow=True),
)  # fmt: skip

_WHOLE = (
    Fault("policy hangs", "SIGSTOP of policy_node in the middle of an inference", hang_thinking_policy, _HOLDS,
          (_monitor("action_chunk is older"),), _AUTOMATIC),
    Fault("policy killed", "kill -9 of policy_node", kill("policy_node"), _HOLDS,
          (_restarted("policy_node"), _monitor("action_chunk is older")), _AUTOMATIC, kills="policy_node"),
    Fault("camera frozen", "the front camera repeats one picture with fresh stamps", frozen_camera, _HOLDS,
          (Told("observation_node", "front: got the same picture"), _monitor("observation is older")), _AUTOMATIC),
    Fault("camera at a tenth of its rate", "nine of ten pictures of the front camera are lost", slow_camera, _GOES_ON,
          (_monitor("observation is older"),), _NONE),
    Fault("camera gone", "no picture of the front camera comes", relayed("front/image_raw", dropped), _HOLDS,
          (_monitor("observation is older"),), _AUTOMATIC),
    Fault("cameras killed", "kill -9 of camera_node", kill("camera_node"), _HOLDS,
          (_restarted("camera_node"), _monitor("observation is older")), _AUTOMATIC, kills="camera_node"),
    Fault("perception killed", "kill -9 of observation_node", kill("observation_node"), _HOLDS,
          (_restarted("observation_node"), _monitor("observation is older")), _AUTOMATIC, kills="observation_node"),
    Fault("mission killed", "kill -9 of mission_node", kill("mission_node"), _WITHDRAWN,
          (_restarted("mission_node"),), _GOAL, kills="mission_node"),
)  # fmt: skip

_DEMO = (
    Fault("disk full while recording", "`vla demo` writes its pictures and logs to a disk of 16 MB", None, _GOES_ON,
          (Told("demo", "the film ends early"),), _NONE, rig="demo", slow=True),
)  # fmt: skip

FAULTS: tuple[Fault, ...] = (
    *_LINE,
    *(replace(fault, rig="clocked") for fault in _CLOCKED),
    *(replace(fault, rig="whole", slow=True) for fault in _WHOLE),
    *_DEMO,
)
