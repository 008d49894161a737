"""RGB-D in the flat: depth against ray casts, its noise and its holes."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.world import FlatWorld

SIZES = {"front": (96, 72), "wrist": (128, 128)}


@pytest.fixture(scope="module")
def cameras() -> Iterator[tuple[FlatWorld, RgbdCameras]]:
    world = FlatWorld()
    made = RgbdCameras(world, SIZES)
    yield world, made
    made.close()


@pytest.mark.parametrize("name", list(SIZES))
def test_depth_is_what_rays_measure(cameras: tuple[FlatWorld, RgbdCameras], name: str) -> None:
    """Pixel by pixel along the optical axis; pixels on edges, which rays and pixels see differently, left out."""
    world, made = cameras
    world.reset(4)
    depth, matrix = made.exact_depth(name), made.intrinsics(name)
    camera = world.data.camera(name)
    frame = camera.xmat.reshape(3, 3)
    geom, groups = np.zeros(1, np.int32), np.array([1, 1, 1, 0, 0, 0], np.uint8)
    width, height = SIZES[name]
    errors = []
    for v in range(1, height - 1, height // 20):
        for u in range(1, width - 1, width // 20):
            around = depth[v - 1 : v + 2, u - 1 : u + 2]
            if np.ptp(around) > 0.05 * depth[v, u] or depth[v, u] > 10.0:
                continue
            ray = np.linalg.inv(matrix) @ [u + 0.5, v + 0.5, 1.0]
            direction = frame @ [ray[0], -ray[1], -ray[2]]
            length = float(np.linalg.norm(direction))
            met = mujoco.mj_ray(world.model, world.data, camera.xpos, direction / length, groups, 1, -1, geom)
            errors.append(depth[v, u] - met / length)
    assert len(errors) > 60
    np.testing.assert_allclose(errors, 0.0, atol=0.01)


def test_depth_noise_grows_with_distance_and_holes_are_nan(cameras: tuple[FlatWorld, RgbdCameras]) -> None:
    world, made = cameras
    world.reset(4)
    true, sensed = made.exact_depth("front"), world.scene["depth"]
    np.testing.assert_array_equal(made.depth("front"), made.depth("front"))  # an instant has one picture
    shots = []
    for _ in range(30):
        world.data.time += 0.1
        shots.append(made.depth("front"))
    readings = np.stack(shots)
    low, high = sensed["range_m"]
    assert np.isnan(readings[:, (true < low) | (true > high)]).all()
    whole = ~np.isnan(readings).any(0)
    expected = sensed["noise_m"] + sensed["noise_m_per_m2"] * true[whole] ** 2
    spread = (readings[:, whole] - true[whole]).std(axis=0)
    assert np.mean(spread / expected) == pytest.approx(1.0, abs=0.05)
    lost = np.isnan(readings).mean(0)
    edges = (lost > 0) & (true > low) & (true < high)
    assert edges.any() and lost[edges].mean() == pytest.approx(sensed["edge_dropout"], abs=0.08)


def test_cameras_follow_the_world_into_the_next_flat(cameras: tuple[FlatWorld, RgbdCameras]) -> None:
    world, made = cameras
    world.reset(4)
    first = made.rgb("front")
    world.reset(3)
    assert not np.array_equal(first, made.rgb("front"))
    world.reset(4)
    np.testing.assert_array_equal(first, made.rgb("front"))


def test_the_wrist_camera_sees_the_pads(cameras: tuple[FlatWorld, RgbdCameras]) -> None:
    world, made = cameras
    world.reset(4)
    pads = np.array([world.data.geom(name).xpos for name in ("fixed_jaw_pad", "moving_jaw_pad")])
    places = made.project("wrist", pads)
    assert np.abs(places).max() < 0.9
