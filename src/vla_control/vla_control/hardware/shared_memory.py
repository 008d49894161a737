"""The robot at the other end of the shared-memory link: `vla_sim`, or a driver that speaks the same two mailboxes."""

from __future__ import annotations

import numpy as np

from vla_control.core.robot import RobotConfig
from vla_control.hardware.protocol import HardwareLimits
from vla_core.peer import Peer
from vla_core.records import COMMAND, STATE
from vla_core.shared_memory import Mailbox, link_path


class SharedMemoryHardware:
    """Reads `state`, owns `command`; see `Hardware`.

    Args:
        link: Name of the link.
        config: The robot; its numbers of joints and grippers.
        timeout_s: How long to wait for the first state [s].

    Raises:
        LinkError: no state within `timeout_s`, or one of another layout.
    """

    def __init__(self, link: str, config: RobotConfig, timeout_s: float) -> None:
        self._state = Peer(link, "state", STATE)
        self._state.wait_first(timeout_s)
        self.state: np.ndarray = self._state.record
        self.mode = "lockstep" if int(self.state["lockstep"][0]) else "real_time"
        first, joints, grippers = self.state[0], len(config.joints), len(config.grippers)
        self.limits = HardwareLimits(
            first["torque_limit"][:joints].copy(), first["gripper_force_limit"][:grippers].copy()
        )
        self._pending = True  # the state that `wait_first` took has not been handed out yet
        self._command = Mailbox(link_path(link, "command"), COMMAND, create=True)

    def read(self) -> bool:
        fresh = self._state.poll() or self._pending
        self._pending = False
        return fresh

    def wait(self, timeout_s: float) -> bool:
        return self.read() or self._state.wait(timeout_s)

    def write(self, command: np.ndarray) -> None:
        self._command.write(command)

    def refresh(self) -> None:
        self._state.refresh()

    def close(self) -> None:
        self._state.close()
        self._command.close(unlink=True)
