"""`vla doctor`: each question notices what it asks about."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_bringup import checks
from vla_bringup.checks import Check
from vla_bringup.commands import doctor
from vla_core.files import workspace_root
from vla_core.shared_memory import Mailbox
from vla_policy.core import preset as preset_module
from vla_policy.core.preset import load_preset


def levels(question: Callable[..., Iterator[Check]], *args: object) -> dict[str, str]:
    found = list(question(*args))
    assert all(check.fix for check in found if check.level != "ok"), "every complaint says how to mend it"
    return {check.name: check.level for check in found}


def test_dds_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    shipped = checks.workspace_root() / "config/dds/fastdds_shm.xml"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(shipped))
    assert levels(checks.dds) == {"DDS profile": "ok"}
    small = tmp_path / "small.xml"
    small.write_text(shipped.read_text().replace("33554432", "524288"))
    for path in (small, tmp_path / "none.xml"):
        monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(path))
        assert levels(checks.dds) == {"DDS profile": "error"}
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_other_cpp")
    assert levels(checks.dds) == {"DDS profile": "warning"}


def test_shared_memory_names_what_nobody_uses(tmp_path: Path) -> None:
    (tmp_path / "vla_dead_state").write_bytes(b"x")
    used = Mailbox(tmp_path / "vla_live_state", np.dtype("f8"), create=True)
    found = {check.name: check for check in checks.shared_memory(tmp_path)}
    used.close(unlink=True)
    assert "vla_dead_state" in found["left-overs"].found and "vla_live_state" not in found["left-overs"].found


def test_no_environment_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLA_ROS", raising=False)
    assert levels(checks.ros) == {"ROS 2": "error"}
    monkeypatch.setenv("VLA_ROS", "wheels")
    assert levels(checks.ros) == {"ROS 2": "ok"}
    monkeypatch.setattr(checks, "MODULES", ("sys", "no_such_module", "no.such.module"))
    (found,) = checks.modules()
    assert found.level == "error" and found.found == "missing: no_such_module, no.such.module"


def test_drawing_says_which_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.system, "missing_drawing", lambda: {"libEGL": "libegl1"})
    (found,) = checks.drawing()
    assert (found.level, found.fix) == ("error", "apt-get install libegl1")
    monkeypatch.setattr(checks.system, "missing_drawing", dict)
    monkeypatch.setattr(checks, "RENDER", "raise RuntimeError('no display')")
    (found,) = checks.drawing()
    assert found.level == "error" and "RuntimeError: no display" in found.found


def test_the_expert_is_no_policy_that_fails_to_load() -> None:
    """Regression guard: doctor reported an error on every machine, for a preset that no node is meant to load."""
    found = checks._policy("scripted_expert")
    assert found is not None and found.level == "ok"


def test_policies_that_nobody_has_trained_yet_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a fresh checkout answered 17 errors, with "check the robot file" as what to do."""
    untrained = replace(load_preset("tabletop_flow"), name="mine", weights="vla_policy/weights/mine.safetensors")
    monkeypatch.setattr(preset_module, "load_preset", lambda name: untrained)
    found = {check.name: check for check in checks.configuration()}
    assert not [name for name in found if name.startswith("policy ")]
    check = found["policies without weights"]
    assert check.level == "ok" and "tabletop_flow" in check.found and "./vla train --policy NAME" in check.found


def test_a_part_of_other_policies_is_no_fault() -> None:
    found = checks._policy("small_vlm")
    assert found is not None and found.level == "ok"


def test_one_core_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.os, "sched_getaffinity", lambda _: {0})
    assert levels(checks.processors) == {"processors": "warning"}


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 1)])
def test_doctor_fails_on_errors_only(
    level: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "QUESTIONS", (lambda: iter([Check("thing", level, "found this", "do that")]),))
    assert doctor.run(argparse.Namespace(out=tmp_path)) == code
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["success"] is (code == 0) and result["checks"][0]["level"] == level
    assert "fix: do that" in capsys.readouterr().out


def test_a_contract_that_does_not_fit_its_robot_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = workspace_root()
    (tmp_path / "src").symlink_to(root / "src")
    for kind in ("contracts", "robots", "policies"):
        (tmp_path / "config" / kind).mkdir(parents=True)
    for name in ("panda", "panda_mobile"):
        (tmp_path / f"config/robots/{name}.yaml").write_text((root / f"config/robots/{name}.yaml").read_text())
    mobile = (root / "config/contracts/rt1_mobile_panda.yaml").read_text()
    (tmp_path / "config/contracts/good.yaml").write_text(mobile)
    for name in ("metaworld_sawyer", "libero_panda"):
        (tmp_path / f"config/contracts/{name}.yaml").write_text((root / f"config/contracts/{name}.yaml").read_text())
    (tmp_path / "config/contracts/wrong.yaml").write_text(mobile.replace("robot: panda_mobile", "robot: panda"))
    monkeypatch.setenv("VLA_ROOT", str(tmp_path))
    found = {check.name: check for check in checks.configuration()}
    assert found["contract good"].level == "ok"
    assert found["contract libero_panda"].level == "ok" and "benchmark" in found["contract libero_panda"].found
    assert found["contract wrong"].level == "error" and "has no base" in found["contract wrong"].found
