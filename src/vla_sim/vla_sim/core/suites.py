"""What can be played: per scene its tasks, who judges them, and who can do them by script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vla_core.errors import UnknownNameError
from vla_core.types import Float32
from vla_sim.core import catch_expert, expert, judge, tasks, turntable
from vla_sim.core.aloha import expert as aloha_expert
from vla_sim.core.aloha import judge as aloha_judge
from vla_sim.core.aloha import tasks as aloha_tasks
from vla_sim.core.aloha.world import AlohaWorld
from vla_sim.core.cameras import Cameras
from vla_sim.core.flat import errands, hand_world
from vla_sim.core.flat import expert as flat_expert
from vla_sim.core.flat import truth as flat_truth
from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.world import FlatWorld
from vla_sim.core.robot_world import RobotWorld
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.turntable import TurntableWorld
from vla_sim.core.world import World


@dataclass(frozen=True, slots=True)
class Hand:
    """An arm that a mission tells what to do, sentence by sentence, while the judge looks at the whole errand.

    Attributes:
        chunk: World, sentence, horizon, time between steps [s] → chunk (T,A).
        done: World, sentence → whether it has been carried out.
    """

    chunk: Callable[[Any, str, int, float], Float32]
    done: Callable[[Any, str], bool]


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks of one kind of world. What takes a world takes the one that `make_world` makes.

    Attributes:
        make_world: From the name of a scene file.
        make_cameras: That draw such a world.
        families: Task families.
        parse: Instruction → task; UnknownObjectError for what no scene can be built for.
        succeeded: Ground-truth judge.
        clean_chunk: Scripted expert: world, horizon, time between steps [s] → chunk (T,A).
        splits: That its tasks may be drawn from.
        drawn_splits: Splits that don't have all families.
        time_limit_s: Simulated seconds that a family may take; `default_limit_s` for those that aren't named.
        hand: Where the arm's part is told by a mission; None: the instruction is the arm's.
        alone: What is played without a node graph, where nobody drives: the arm's part; None: the same.
    """

    make_world: Callable[[str], RobotWorld]
    make_cameras: Callable[[Any], Cameras]
    families: tuple[str, ...]
    parse: Callable[[str], tasks.Task]
    succeeded: Callable[[Any], bool]
    clean_chunk: Callable[[Any, int, float], Float32]
    splits: tuple[str, ...]
    drawn_splits: tuple[str, ...]
    time_limit_s: Mapping[str, float]
    default_limit_s: float
    hand: Hand | None = None
    alone: Suite | None = None

    def turn(self, seed: int, split: str) -> str:
        """Family of an episode: they take turns, but where a split has only some of them the seed draws ('')."""
        return "" if split in self.drawn_splits else self.families[seed % len(self.families)]

    def limit_s(self, family: str) -> float:
        """Simulated seconds that a family may take."""
        return self.time_limit_s.get(family, self.default_limit_s)


#: By the `world` key of scene files; the suites of `vla eval` have the names of their scenes.
SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        "tabletop": Suite(
            make_world=World,
            make_cameras=Cameras,
            families=tasks.FAMILIES,
            parse=tasks.parse_instruction,
            succeeded=judge.succeeded,
            clean_chunk=expert.clean_chunk,
            splits=tasks.SPLITS,
            drawn_splits=("heldout_pair",),
            time_limit_s=MappingProxyType({"sort": 26.0, "place_in": 16.0, "stack": 16.0}),
            default_limit_s=12.0,
        ),
        "aloha": Suite(
            make_world=AlohaWorld,
            make_cameras=Cameras,
            families=aloha_tasks.FAMILIES,
            parse=aloha_tasks.parse_instruction,
            succeeded=aloha_judge.succeeded,
            clean_chunk=aloha_expert.clean_chunk,
            splits=tasks.SPLITS[:2],
            drawn_splits=(),
            time_limit_s=MappingProxyType({"transfer_cube": 20.0}),
            default_limit_s=14.0,
        ),
        "turntable": Suite(
            make_world=TurntableWorld,
            make_cameras=Cameras,
            families=turntable.FAMILIES,
            parse=turntable.parse_instruction,
            succeeded=turntable.succeeded,
            clean_chunk=catch_expert.clean_chunk,
            splits=tasks.SPLITS[:2],
            drawn_splits=(),
            time_limit_s=MappingProxyType({}),
            default_limit_s=4.0,
        ),
        "flat": Suite(
            make_world=FlatWorld,
            make_cameras=RgbdCameras,
            families=errands.FAMILIES,
            parse=errands.parse_errand,
            succeeded=flat_truth.succeeded,
            clean_chunk=flat_expert.clean_chunk,
            splits=errands.SPLITS,
            drawn_splits=(),
            time_limit_s=MappingProxyType({}),
            default_limit_s=300.0,
            hand=Hand(flat_expert.hand_chunk, flat_expert.hand_done),
            alone=Suite(
                make_world=hand_world.HandWorld,
                make_cameras=RgbdCameras,
                families=flat_expert.HAND_GOALS,
                parse=hand_world.parse_hand,
                succeeded=hand_world.hand_succeeded,
                clean_chunk=hand_world.chunk,
                splits=errands.SPLITS,
                drawn_splits=(),
                time_limit_s=MappingProxyType({}),
                default_limit_s=20.0,
            ),
        ),
    }
)


def played_alone(scene: str) -> Suite:
    """What is played in a scene without a node graph.

    Raises:
        UnknownNameError: see `suite_of`.
    """
    suite = suite_of(scene)
    return suite.alone or suite


def suite_of(scene: str) -> Suite:
    """The suite of a scene file.

    Raises:
        UnknownNameError: no such scene, or its kind of world isn't known.
    """
    kind = str(load_scene(scene).get("world", ""))
    if kind not in SUITES:
        raise UnknownNameError(f"world of scene '{scene}'", kind, SUITES)
    return SUITES[kind]
