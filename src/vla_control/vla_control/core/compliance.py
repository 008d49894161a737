"""How the arm feels: the gains in use, and their way to the gains that were asked for.

Gains move with a first-order filter, `g += (g_wanted - g) dt / T`. Damping is computed from the stiffness in use, so it
stays critical on the way. The change between operational-space and joint impedance is a blend of their torques over
`compliance_blend_s`.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.impedance import D_NULL, FORCE_LIN, FORCE_ROT, JOINT_SHARE, K_LIN, K_NULL, K_ROT, STIFFNESS
from vla_control.core.parameters import PHASES, ServoParameters
from vla_core.records import COMPLIANCE, SETTINGS

_DONE = 1e-9  # steps this small are taken at once, the last one


def settings_record(params: ServoParameters) -> np.ndarray:
    """SETTINGS record (1,) that asks for the compliance, phase and payload of `params`."""
    record = np.zeros(1, SETTINGS)
    phase = PHASES.index(params.phase)
    record["compliance"] = COMPLIANCE.index(params.compliance)
    record["stiffness"], record["force"] = params.phase_stiffness[phase], params.phase_force[phase]
    record["payload_kg"], record["payload_com"] = params.payload_kg, params.payload_com_m
    return record


class Compliance:
    """The gains in use; `advance` allocates nothing.

    Args:
        params: Tuning; also what is in use first.

    Attributes:
        gain: float64 (18,), in the order of `impedance`'s names.
        load: float64 (4,) payload in use: mass [kg], first moment in the tool frame [kg*m].
        moves: Whether gains or load are on their way.
        load_moves: Whether the last `advance` changed `load`.
    """

    def __init__(self, params: ServoParameters) -> None:
        p = params
        self._base = np.array(
            [
                p.stiffness_n_m, p.stiffness_nm_rad, p.damping_ratio, p.error_clamp_m, p.error_clamp_rad,
                p.force_clamp_n, p.torque_clamp_nm, p.nullspace_stiffness_nm_rad, p.nullspace_damping_nm_s_rad,
                p.mobility_min_per_kg, p.limit_margin_rad, p.limit_stiffness_nm_rad, p.limit_damping_nm_s_rad,
                p.observer_rad_s, p.period_s, p.friction_smoothing_rad_s, 1.0, 0.0,
            ]
        )  # fmt: skip
        self._share = min(1.0, p.period_s / p.gain_time_s)
        self._blend_step = p.period_s / p.compliance_blend_s
        self.gain, self._wanted, self._step = self._base.copy(), self._base.copy(), np.zeros_like(self._base)
        self.load, self._load_wanted, self._load_step = np.zeros((3, 4))
        self.moves = self.load_moves = False
        self.use(settings_record(params))
        self.settle()

    def use(self, settings: np.ndarray) -> None:
        """Head for what a SETTINGS record (1,) asks for; numbers that aren't finite or out of range are ignored."""
        row = settings[0]
        stiffness, force, mass = float(row["stiffness"]), float(row["force"]), float(row["payload_kg"])
        com = np.asarray(row["payload_com"])
        positive = 0.0 < stiffness < np.inf and 0.0 < force < np.inf and 0.0 <= mass < np.inf
        if not (positive and np.isfinite(com).all() and 0 <= row["compliance"] < len(COMPLIANCE)):
            return
        base, wanted = self._base, self._wanted
        for k in (K_LIN, K_ROT, K_NULL, STIFFNESS):
            wanted[k] = stiffness * base[k]
        wanted[D_NULL] = np.sqrt(stiffness) * base[D_NULL]
        wanted[FORCE_LIN], wanted[FORCE_ROT] = force * base[FORCE_LIN], force * base[FORCE_ROT]
        wanted[JOINT_SHARE] = float(row["compliance"])
        self._load_wanted[0], self._load_wanted[1:] = mass, mass * com
        self.moves = True

    def settle(self) -> None:
        """Take what is wanted at once: nothing moves yet."""
        self.gain[:], self.load[:] = self._wanted, self._load_wanted
        self.moves = False

    def advance(self) -> None:
        """One tick on the way."""
        self.load_moves = False
        if not self.moves:
            return
        blend = self.gain[JOINT_SHARE]
        np.subtract(self._wanted, self.gain, out=self._step)
        self._step *= self._share
        self.gain += self._step
        step = self._wanted[JOINT_SHARE] - blend
        self.gain[JOINT_SHARE] = blend + min(max(step, -self._blend_step), self._blend_step)
        np.subtract(self._load_wanted, self.load, out=self._load_step)
        self._load_step *= self._share
        self.load += self._load_step
        self.load_moves = True
        if max(np.abs(self._step).max(), np.abs(self._load_step).max()) < _DONE and step == 0.0:
            self.settle()
