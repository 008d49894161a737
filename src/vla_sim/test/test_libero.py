"""LIBERO-Spatial without LIBERO: tasks, units, images, and what a worker makes of its environment."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla_core import rotations
from vla_core.contract import load_contract
from vla_core.errors import UnknownNameError
from vla_sim.libero import scene as libero
from vla_sim.libero.benchmark import LIBERO_SPATIAL, SCALE, from_libero, to_libero
from vla_sim.libero.tasks import TASKS, select
from vla_sim.third_party import worker as wire

NAME = "pick_up_the_black_bowl_on_the_stove_and_place_it_on_the_plate"


def test_ten_tasks_by_name_or_number() -> None:
    assert len({task.name for task in TASKS}) == 10 and [task.index for task in TASKS] == list(range(10))
    assert select([]) == TASKS and select(["7"]) == select([NAME]) == (TASKS[7],)
    assert TASKS[7].instruction == "pick up the black bowl on the stove and place it on the plate"
    with pytest.raises(UnknownNameError, match="on_the_stove"):
        select(["10"])


@pytest.mark.parametrize(("name", "horizon"), [("libero_panda", 8), ("libero_panda_step", 1)])
def test_the_contract_is_what_a_worker_sends_and_takes(name: str, horizon: int) -> None:
    contract = load_contract(name)
    assert contract.view_names == LIBERO_SPATIAL.views and len(libero.CAMERAS) == len(LIBERO_SPATIAL.views)
    assert (len(contract.state_names), len(contract.action_names)) == (LIBERO_SPATIAL.state, LIBERO_SPATIAL.actions)
    assert contract.action_units == (*["m"] * 3, *["rad"] * 3, "-1 opens .. 1 closes")
    assert (contract.action_rate_hz, contract.horizon, contract.rgb_shape) == (20, horizon, (2, 224, 224, 3))


def test_one_of_liberos_is_five_centimetres_or_half_a_radian() -> None:
    metres = np.array([[0.05, 0.0, -0.1, 0.5, 0.0, -0.25, 1.0]], np.float32)
    np.testing.assert_allclose(to_libero(metres), [[1.0, 0.0, -2.0, 1.0, 0.0, -0.5, 1.0]], rtol=1e-6)


@given(arrays(np.float32, (3, 7), elements=st.floats(-1, 1, width=32)))
def test_units_there_and_back(actions: np.ndarray) -> None:
    np.testing.assert_allclose(to_libero(from_libero(actions)), actions, atol=1e-6)
    np.testing.assert_allclose(from_libero(to_libero(actions * SCALE)), actions * SCALE, atol=1e-6)


def test_images_are_turned_by_180_degrees() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(libero.turned(image)[0, 0], image[1, 2])
    np.testing.assert_array_equal(libero.turned(image), np.rot90(image, 2))
    np.testing.assert_array_equal(libero.turned(libero.turned(image)), image)


def test_smaller_images_keep_their_places() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128, 128:] = (200, 0, 0)
    small = libero.smaller(image, 224)
    assert small.shape == (224, 224, 3) and small.dtype == np.uint8
    assert (small[:108, 116:] == (200, 0, 0)).all() and (small[116:] == 0).all() and (small[:, :108] == 0).all()
    assert libero.smaller(image, 256) is image


@given(arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_the_rotation_vector_is_the_same_rotation_and_never_the_shorter_way(q: np.ndarray) -> None:
    q = q / np.linalg.norm(q)
    vector = libero.rotation_vector(q)
    np.testing.assert_allclose(rotations.to_matrix(rotations.from_rotvec(vector)), rotations.to_matrix(q), atol=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(2 * np.arccos(np.clip(q[3], -1, 1)), abs=1e-6) or q[3] < -1 + 1e-9


def test_a_tool_that_points_down_does_not_jump() -> None:
    """On both sides of half a turn the vector is nearly the same, as in the data that weights were trained on."""
    before, after = (libero.rotation_vector(np.array([np.sqrt(1 - w * w), 0.0, 0.0, w])) for w in (0.01, -0.01))
    assert np.linalg.norm(after - before) < 0.05 and np.linalg.norm(after) > np.pi > np.linalg.norm(before)


class Observable:
    def __init__(self) -> None:
        self.enabled = True

    def set_enabled(self, enabled: bool) -> None:
        self.enabled = enabled


class FakeEnv:
    """LIBERO's interface as far as the scene uses it; every privileged number is 77."""

    def __init__(self, **options: Any) -> None:
        self.options, self.log = options, []
        keys = (*libero.SEEN, "akita_black_bowl_1_pos", "object-state")
        self.env = types.SimpleNamespace(_observables={key: Observable() for key in keys})
        self.robots = [types.SimpleNamespace(gripper=types.SimpleNamespace(dof=1, current_action=np.zeros(1)))]
        self.sim = types.SimpleNamespace(render=self.render)

    def seed(self, seed: int) -> None:
        self.log.append(("seed", seed))

    def reset(self) -> None:
        self.log.append(("reset",))

    def set_init_state(self, state: np.ndarray) -> None:
        self.log.append(("state", float(state[0]), float(self.robots[0].gripper.current_action[0])))

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, dict[str, Any]]:
        self.log.append(("step", *(float(x) for x in action)))
        self.robots[0].gripper.current_action = np.array([0.5])
        seen = {
            "robot0_eef_pos": np.array([0.1, 0.2, 0.3]), "robot0_eef_quat": np.array([1.0, 0.0, 0.0, 0.0]),
            "robot0_gripper_qpos": np.array([0.04, -0.04]), "object-state": np.full(70, 77.0),
        }  # fmt: skip
        return seen, 77.0, len(self.log) > 14, {"bowl": 77.0}

    def render(self, camera_name: str, width: int, height: int) -> np.ndarray:
        image = np.zeros((height, width, 3), np.uint8)
        image[0, 0] = (255, 0, libero.CAMERAS.index(camera_name))
        return image

    def close(self) -> None:
        self.log.append(("close",))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> libero.Scene:
    """A scene on a fake LIBERO with 3 initial states."""
    tasks = [types.SimpleNamespace(name=t.name, problem_folder="p", bddl_file=t.name + ".bddl") for t in TASKS]
    suite = types.SimpleNamespace(
        get_num_tasks=lambda: 10, get_task=tasks.__getitem__,
        get_task_init_states=lambda i: 100.0 * i + np.arange(3)[:, None],
    )  # fmt: skip
    modules = {
        "libero": types.ModuleType("libero"),
        "libero.libero": types.SimpleNamespace(get_libero_path=lambda key: f"/{key}"),
        "libero.libero.benchmark": types.SimpleNamespace(get_benchmark={"libero_spatial": lambda: suite}.__getitem__),
        "libero.libero.envs": types.SimpleNamespace(OffScreenRenderEnv=FakeEnv),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return libero.open_scene("evaluate", 256)


def _reset(host: wire.Host, seed: int, name: str = NAME) -> bytes:
    return host.answer(wire.RESET, wire.SEED.pack(seed) + name.encode())[1]


def test_an_episode_begins_at_liberos_state_and_waits_ten_steps(scene: libero.Scene) -> None:
    host = wire.Host(scene)
    _reset(host, 2)
    log = scene._env.log
    assert log[:3] == [("seed", 2), ("reset",), ("state", 702.0, 0.0)]
    assert log[3:] == [("step", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)] * 10
    assert Path(scene._env.options["bddl_file_name"]) == Path("/bddl_files/p") / f"{NAME}.bddl"
    before = scene._env
    _reset(host, 1)
    assert scene._env is before and log[15] == ("state", 701.0, 0.0), "the gripper's memory is wiped"
    _reset(host, 0, TASKS[0].name)
    assert log[-1] == ("close",) and scene._env is not before


def test_nothing_privileged_leaves_a_worker(scene: libero.Scene) -> None:
    host = wire.Host(scene)
    body = _reset(host, 0)
    state = np.array([0.1, 0.2, 0.3, np.pi, 0.0, 0.0, 0.04, -0.04], "<f4").tobytes()
    assert body[: -2 * 3 * 256**2] == wire.OBSERVED.pack(0, 0) + state
    observables = scene._env.env._observables
    assert {key for key, observable in observables.items() if observable.enabled} == set(libero.SEEN)
    with pytest.raises(PermissionError):
        host.answer(wire.LABEL, wire.COUNT.pack(3))
    with pytest.raises(ValueError, match="initial state 3"):
        _reset(host, 3)


def test_both_views_are_sent_turned(scene: libero.Scene) -> None:
    body = _reset(wire.Host(scene), 0)
    views = np.frombuffer(body[-2 * 3 * 256**2 :], np.uint8).reshape(2, 256, 256, 3)
    assert [tuple(view[-1, -1]) for view in views] == [(255, 0, 0), (255, 0, 1)] and views.sum() == 2 * 255 + 1


def test_success_is_what_liberos_step_says(scene: libero.Scene) -> None:
    host = wire.Host(scene)
    _reset(host, 0)  # 3 + 10 entries in the log, so that the second step is won
    body = host.answer(wire.STEP, bytes([0]) + np.full((5, 7), 3.0, "<f4").tobytes())[1]
    assert wire.OBSERVED.unpack_from(body) == (2, 1)
    assert scene._env.log[-1] == ("step", *[1.0] * 7), "clipped"
