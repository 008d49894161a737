"""What a worker makes of Meta-World: nothing privileged leaves it."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from vla_sim.metaworld import scene as metaworld
from vla_sim.third_party import worker as wire

SIZE = 16


class FakeEnv:
    """Meta-World's interface as far as the worker uses it; every privileged number is 77."""

    def __init__(self) -> None:
        quality = types.SimpleNamespace(shadowsize=4096, offsamples=4)
        camera = types.SimpleNamespace(id=2)
        self.model = types.SimpleNamespace(
            vis=types.SimpleNamespace(quality=quality), cam_pos=np.zeros((4, 3)), camera=lambda name: camera
        )
        self.executed: list[np.ndarray] = []

    def seed(self, seed: int) -> None:
        self.seeded = seed

    def reset(self) -> tuple[np.ndarray, dict[str, Any]]:
        return np.array([0.1, 0.6, 0.2, 1.0, *[77.0] * 35]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.executed.append(action)
        return *self.reset()[:1], 77.0, False, False, {"success": 0.0, "obj_to_target": 77.0}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> metaworld.Scene:
    """What an evaluating worker holds, on a fake Meta-World whose experts can't be imported."""
    registry = types.SimpleNamespace(ENV_CLS_MAP={"door-open-v3": FakeEnv})
    monkeypatch.setitem(sys.modules, "metaworld", types.ModuleType("metaworld"))
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", registry)
    monkeypatch.setitem(sys.modules, "metaworld.policies", None)
    made = metaworld.open_scene("evaluate", SIZE)
    monkeypatch.setattr(made, "draw", lambda: np.full((1, SIZE, SIZE, 3), 9, np.uint8))
    return made


def test_nothing_privileged_leaves_an_evaluating_worker(scene: metaworld.Scene) -> None:
    host = wire.Host(scene)
    kind, body = host.answer(wire.RESET, wire.SEED.pack(10_000_000) + b"door-open-v3")
    state = np.array([0.1, 0.6, 0.2, 1.0], "<f4").tobytes()
    assert kind == wire.OBSERVATION and body == wire.OBSERVED.pack(0, 0) + state + b"\x09" * (3 * SIZE**2)
    kind, body = host.answer(wire.STEP, bytes([0]) + np.full((2, 4), 5.0, "<f4").tobytes())
    assert kind == wire.OBSERVATION and body == wire.OBSERVED.pack(2, 0) + state
    env = scene._env
    assert env._partially_observable and env.seeded == 10_000_000
    assert np.max(env.executed) == 1.0, "actions are clipped"
    with pytest.raises(PermissionError):
        host.answer(wire.LABEL, wire.COUNT.pack(4))
    with pytest.raises(ImportError):
        metaworld.open_scene("demonstrate", SIZE)


def test_the_camera_is_moved_and_the_costly_drawing_is_off(scene: metaworld.Scene) -> None:
    scene.reset("door-open-v3", 0)
    model = scene._env.model
    assert (model.vis.quality.shadowsize, model.vis.quality.offsamples) == (0, 0)
    np.testing.assert_array_equal(model.cam_pos[2], metaworld.CAMERA_XYZ)


def test_an_episode_has_no_more_steps_than_meta_world_allows(scene: metaworld.Scene) -> None:
    host = wire.Host(scene)
    host.answer(wire.RESET, wire.SEED.pack(0) + b"door-open-v3")
    host.answer(wire.STEP, bytes([0]) + np.zeros((metaworld.MAX_STEPS, 4), "<f4").tobytes())
    with pytest.raises(ValueError, match="500 steps"):
        host.answer(wire.STEP, bytes([0]) + np.zeros((1, 4), "<f4").tobytes())
