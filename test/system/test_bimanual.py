"""Two arms through the whole node graph, in lockstep: observation, chunk of 14 numbers, executor, servo, simulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_bringup.graph import GraphOptions, simulated_graph
from vla_bringup.watched import WatchedGraph, new_link


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory):
    options = GraphOptions.of_scene("aloha", policy="scripted_expert", seed=5, link=new_link())
    out = tmp_path_factory.mktemp("bimanual")
    with WatchedGraph(simulated_graph(options), out, lambda text: None, images=False) as graph:
        yield graph


@pytest.mark.parametrize("family", ["transfer_cube", "lift_together"])
def test_both_arms_carry_a_task_out(graph: WatchedGraph, family: str) -> None:
    instruction = graph.session.reset(21, split="heldout_pose", family=family)
    done = graph.carry_out(instruction, 0.0, lambda stage, subtask: None)
    assert done.truth["family"] == family and done.truth["instruction"] == instruction
    assert done.truth["success"] is True and done.result.success is True
    error = graph.recording.last_error  # chunks under way when the mission ends are refused
    assert error == "" or "without an instruction" in error
    assert done.summary["dropped_frames"] == 0 and done.summary["starved_s"] == 0.0
    assert len(graph.recording.controls[-1].q_rad) == 12


def test_a_task_of_another_scene_is_refused_before_anything_starts(tmp_path: Path) -> None:
    import argparse

    from vla_bringup.commands import demo
    from vla_core.errors import UnknownObjectError

    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    args = parser.parse_args(["--scene", "aloha", "--instruction", "open the drawer"])
    args.out = tmp_path / "out"
    with pytest.raises(UnknownObjectError, match="hand the red cube to the left arm"):
        demo.run(args)
    assert not args.out.exists()
