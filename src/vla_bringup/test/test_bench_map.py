"""`vla bench map`: what counts as found, as right and as an answer."""

from __future__ import annotations

import numpy as np

from vla_bringup.bench import map as bench
from vla_perception.core.detector.flat import FlatDetector
from vla_perception.core.detector.registry import shipped_weights
from vla_sim.core.flat.poses import PoseDrawer
from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.world import FlatWorld

SURE, ONCE = "confirmed by two views", "anything seen once"


def test_what_was_clear_once_only_is_not_missed_and_what_lies_apart_is_another_thing() -> None:
    things = [
        bench.Lying("mug", "red", np.array([1.0, 1.0]), 4),
        bench.Lying("can", "blue", np.array([2.0, 1.0]), 2),
        bench.Lying("duck", "white", np.array([5.0, 5.0]), 1),
    ]
    sure = [("mug", "red", np.array([1.1, 1.0])), ("mug", "red", np.array([2.0, 1.0]))]
    known = bench.Known({SURE: sure, ONCE: [*sure, ("can", "red", np.array([2.0, 1.03]))]}, things, [True, False],
                        [10.0, 20.0], [1.0, 2.0])  # fmt: skip
    row = bench.summarise([known], SURE)
    assert (row["n"], row["found"], row["claimed"], row["precision"]) == (2, 0.5, 2, 0.5)
    assert row["error_m_p50"] == 0.1 and row["colour_right"] == 1.0 and row["answered_right"] == 0.5
    row = bench.summarise([known], ONCE)
    assert (row["found"], row["claimed"], row["colour_right"]) == (1.0, 3, 0.5)
    assert row["detect_ms_p50"] == 15.0 and row["update_ms_max"] == 2.0


def test_a_flat_is_learnt_alike_from_the_same_seed() -> None:
    world, detector = FlatWorld(), FlatDetector(shipped_weights())
    cameras, poses = RgbdCameras(world), PoseDrawer(world)
    first, again = (bench.learn(world, cameras, poses, detector, 700, 5) for _ in range(2))
    cameras.close()
    assert len(first.things) == len(world.plan.things) and max(t.views for t in first.things) >= 1
    named = [[(c, k, p.tolist()) for c, k, p in known.objects[ONCE]] for known in (first, again)]
    assert named[0] == named[1] and len(first.detect_ms) == 5
