"""`vla bench slam`: figures of a way that is driven for real, on seeds that no threshold was chosen on."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from vla_bringup.bench import slam
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.worlds.drive import Drive, drive
from vla_navigation.core.worlds.walls import flat


def test_a_way_is_followed_and_scored_against_the_truth() -> None:
    moments = list(islice(drive(flat(slam.FIRST_SEED), slam.FIRST_SEED, Drive()), 120))
    run = slam.follow(moments, SlamParameters.from_config())
    assert len(run.online_m) == len(run.scan_ms) == run.tracked == 120 and run.keyframes > 1
    assert max(run.online_m) < 0.05 and min(run.scan_ms) > 0.0
    error, scan, grid = slam._rows("some flat", [run, run])
    assert error["n"] == scan["n"] == 240 and grid["n"] == 4 and error["tracked"] == 1.0
    assert error["ate_rmse_m"] == pytest.approx(np.sqrt(np.mean(np.square(run.online_m))), rel=1e-3)


def test_what_is_off_is_measured() -> None:
    truth = np.stack([np.linspace(3.0, 5.0, 11), np.full(11, 2.0), np.zeros(11)], 1)
    told = truth - truth[0] + [0.0, 0.1, 0.0]
    np.testing.assert_allclose(slam._errors(told, truth), 0.1)
