"""`vla bench claims`: its rows, on systems that have hardly learnt."""

from __future__ import annotations

import numpy as np
import pytest

from vla_bringup.bench import claims
from vla_policy.core.preset import load_preset


@pytest.mark.parametrize(("name", "passes"), [("openvla_oft", 1), ("pi0", 10)])
def test_a_system_of_a_preset_is_tried_in_the_toy_world(name: str, passes: int) -> None:
    rows = claims.two_modes(name, 1)
    assert [row["claim"] for row in rows] == ["two modes", "two modes", "passes"] and rows[-1]["value"] == passes
    assert all(row["of"] == name for row in rows) and 0.0 <= rows[1]["value"] <= 0.5


@pytest.mark.parametrize("name", claims.POLICIES)
def test_no_system_begins_with_what_others_learnt(name: str) -> None:
    model = claims._for_the_toy_world(load_preset(name).model)
    assert all(part.get("start", "") == "" for part in model.values() if isinstance(part, dict))


def test_what_tokens_lose_is_told_in_millimetres() -> None:
    error = np.zeros((2, 20, 7))
    error[..., 2] = 0.01  # of 0.1 m
    *_, lost = claims._tokens("bins", np.array([140, 140]), error)
    assert lost["value"] == pytest.approx(1.0) and lost["n"] == 2
