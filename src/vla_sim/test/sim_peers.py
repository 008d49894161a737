"""Stand-ins for the processes around the simulator, for its tests."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import numpy as np

from vla_core.records import COMMAND, PLAN, STATE
from vla_core.shared_memory import Mailbox, link_path
from vla_core.types import RobotState
from vla_sim.core.link import WatchfulPeer
from vla_sim.core.records import RENDERED, SNAPSHOT


def new_link() -> str:
    """A link name that no other test has."""
    return f"test_{uuid.uuid4().hex[:12]}"


class FakeWorld:
    """Counts steps; its one joint moves with the torque."""

    command = "tau"

    def __init__(self, rate_hz: float = 20.0, timestep_s: float = 0.001) -> None:
        self.scene: dict[str, Any] = {"timestep_s": timestep_s, "cameras": [{"name": "front", "rate_hz": rate_hz}]}
        self.time_offset_ns = 0
        self.steps, self.q = 0, 0.0
        self.resets: list[tuple[int, str | None, str, str | None]] = []
        self.torque_limit_nm, self.gripper_force_limit_n = np.full(7, 87.0), np.full(1, 40.0)

    def reset(self, seed: int, instruction: str | None, split: str, family: str | None) -> str:
        self.resets.append((seed, instruction, split, family))
        self.q = float(seed)
        return instruction or "drawn"

    def robot_state(self) -> RobotState:
        return RobotState(0, np.array([self.q]), np.zeros(1), np.zeros(1), np.full(1, 0.08))

    def step(self, tau_nm: np.ndarray, gripper_width_m: np.ndarray, gripper_force_n: np.ndarray) -> None:
        self.steps += 1
        self.q += float(tau_nm[0])

    def snapshot(self) -> np.ndarray:
        return np.array([self.q])


class Answering(threading.Thread):
    """A peer in a thread: waits for news in one mailbox and answers in another, until stopped."""

    def __init__(self, link: str, box: str, source: np.dtype, reply_box: str, reply: np.dtype) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._news = WatchfulPeer(link, box, source)
        self._box = Mailbox(link_path(link, reply_box), reply, create=True)
        self._reply = np.zeros(1, reply)
        self._end = threading.Event()
        self.start()

    def answer(self, news: np.ndarray, reply: np.ndarray) -> bool:
        raise NotImplementedError

    def run(self) -> None:
        while not self._end.is_set():
            if self._news.wait(0.02) and self.answer(self._news.record, self._reply):
                self._box.write(self._reply)

    def stop(self) -> None:
        self._end.set()
        self.join()
        self._news.close()
        self._box.close(unlink=True)


class FakeServo(Answering):
    """Commands 1 N·m at every tick; `mute` from that tick on."""

    def __init__(self, link: str) -> None:
        self.mute_from = 1 << 62
        super().__init__(link, "state", STATE, "command", COMMAND)

    def answer(self, news: np.ndarray, reply: np.ndarray) -> bool:
        tick = int(news["tick"][0])
        if tick >= self.mute_from:
            return False
        reply["tick"], reply["tau"][0, 0] = tick, 1.0
        if not self.seen or self.seen[-1] != tick:
            self.seen.append(tick)
        return True


class FakeCamera(Answering):
    """Acknowledges every snapshot, after a while."""

    def __init__(self, link: str, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        super().__init__(link, "snapshot", SNAPSHOT, "rendered", RENDERED)

    def answer(self, news: np.ndarray, reply: np.ndarray) -> bool:
        time.sleep(self.delay_s)
        reply["stamp_ns"] = news["stamp_ns"]
        self.seen.append(int(news["stamp_ns"][0]))
        return True


class PlanBox:
    """The executor's mailbox."""

    def __init__(self, link: str) -> None:
        self._box = Mailbox(link_path(link, "plan"), PLAN, create=True)
        self._plan = np.zeros(1, PLAN)

    def answer(self, stamp_ns: int) -> None:
        self._plan["answers_ns"] = stamp_ns
        self._box.write(self._plan)

    def close(self) -> None:
        self._box.close(unlink=True)
