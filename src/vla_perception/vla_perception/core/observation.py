"""Stage 1 without ROS: images and joint states in, observations by the contract out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.errors import UnknownNameError
from vla_core.types import NS, Observation, UInt8
from vla_perception.core.proprioception import JointReading, JointSample, Proprioception
from vla_perception.core.rate import RateGate
from vla_perception.core.resize import FitView, RawImage
from vla_perception.core.sync import Matched, SourceStatistics, StampSynchronizer

#: Name of the joint states among the sources; cameras go by their own names.
JOINTS = "joint_states"
_SET_BACK_NS = NS


def assemble(
    contract: Contract,
    proprioception: Proprioception,
    stamp_ns: int,
    views: Mapping[str, UInt8],
    reading: JointReading,
    instruction: str,
) -> Observation:
    """Observation of views that already have the contract's size.

    Args:
        contract: Names the views and their order.
        proprioception: Of the same contract.
        stamp_ns: Capture time of the oldest source [ns, ROS clock].
        views: uint8 (H,W,3) RGB by camera name, one per camera of the contract.
        reading: Checked joint states.
        instruction: Text, may be empty.
    """
    return Observation(
        stamp_ns=stamp_ns,
        instruction=instruction,
        contract_hash=contract.hash,
        view_names=contract.view_names,
        view_valid=np.ones(len(contract.cameras), dtype=np.bool_),
        rgb=np.stack([views[name] for name in contract.view_names]),
        state_names=contract.state_names,
        state=proprioception.vector(reading),
    )


class Observer:
    """Joins the cameras and the joint states of a contract into observations at the contract's rate.

    A set is complete or it isn't published: a camera that is silent stops the observations, and with them the policy,
    rather than being replaced by an old or black picture.

    Args:
        contract: What an observation holds.
        robot: Kinematics of the contract's robot.

    Attributes:
        sources: Cameras in contract order, then JOINTS.
        instruction: Goes into the observations to come.
        observed: Observations made since start.
        stale: Complete sets thrown away because they were older than the contract's `max_age_s` on completion.
    """

    def __init__(self, contract: Contract, robot: RobotModel) -> None:
        self._contract = contract
        self._proprioception = Proprioception(contract, robot)
        self._fit = {camera.name: FitView(camera) for camera in contract.cameras}
        self._max_age_ns = round(contract.max_age_s * NS)
        self._gate = RateGate(round(NS / contract.rate_hz), _SET_BACK_NS)
        self.sources = (*contract.view_names, JOINTS)
        self._sync: StampSynchronizer[UInt8 | JointReading] = StampSynchronizer(
            reference=self.sources[0],
            others=self.sources[1:],
            max_skew_ns=round(contract.max_skew_s * NS),
            window_ns=self._max_age_ns,
            set_back_ns=_SET_BACK_NS,
        )
        self.instruction = ""
        self.observed = 0
        self.stale = 0

    @property
    def unmatched(self) -> int:
        """Frames of the first camera for which no complete set within the contract's skew exists."""
        return self._sync.unmatched

    def statistics(self, source: str) -> SourceStatistics:
        """Statistics of one of `sources`."""
        return self._sync.statistics(source)

    def add_image(self, camera: str, stamp_ns: int, image: RawImage, now_ns: int) -> list[Observation]:
        """Take a frame; return the observations that it completes, oldest first (mostly none or one).

        Args:
            camera: Name by the contract.
            stamp_ns: Capture time [ns, ROS clock].
            image: The frame.
            now_ns: Now [ns, ROS clock], 0 while the clock is unknown.

        Raises:
            ObservationError: the frame can't become the contract's view.
            UnknownNameError: the contract has no such camera.
        """
        if camera not in self._fit:
            raise UnknownNameError("camera", camera, self._fit)
        return self._finish(self._sync.push(camera, stamp_ns, self._fit[camera](image)), now_ns)

    def add_joints(self, stamp_ns: int, sample: JointSample, now_ns: int) -> list[Observation]:
        """Take joint states; return the observations that they complete, oldest first.

        Args:
            stamp_ns: Measurement time [ns, ROS clock].
            sample: Joint states in the driver's order.
            now_ns: Now [ns, ROS clock], 0 while the clock is unknown.

        Raises:
            ObservationError: a joint is missing, named twice, or not finite.
        """
        return self._finish(self._sync.push(JOINTS, stamp_ns, self._proprioception.read(sample)), now_ns)

    def _finish(self, sets: list[Matched[UInt8 | JointReading]], now_ns: int) -> list[Observation]:
        made = []
        for matched in sets:
            if now_ns - matched.oldest_ns > self._max_age_ns:
                self.stale += 1
            elif self._gate.passes(matched.reference_ns):
                views = {name: cast(UInt8, matched.items[name]) for name in self._contract.view_names}
                reading = cast(JointReading, matched.items[JOINTS])
                stamp_ns, text = matched.oldest_ns, self.instruction
                made.append(assemble(self._contract, self._proprioception, stamp_ns, views, reading, text))
        self.observed += len(made)
        return made
