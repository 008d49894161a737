"""Labelled pictures of generated flats: what the robot's cameras see from where the robot can be, and what it is.

The front camera looks from the robot's own poses in free space, the wrist camera from before things. Boxes are those
of the pixels that show a thing (MuJoCo's segmentation), so what hides it makes them smaller, the robot too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_core.errors import UnknownNameError
from vla_core.types import UInt8
from vla_sim.core.cameras import Int32
from vla_sim.core.flat.errands import SPLITS
from vla_sim.core.flat.furniture import KINDS
from vla_sim.core.flat.plan import crowded, draw_plan
from vla_sim.core.flat.poses import PoseDrawer
from vla_sim.core.flat.rgbd import RgbdCameras
from vla_sim.core.flat.things import CATEGORIES, COLOURS
from vla_sim.core.flat.world import FlatWorld

#: What is labelled: the nine categories of things, then every kind of furniture that a plan knows.
CLASSES = (*CATEGORIES, *KINDS)
THINGS = len(CATEGORIES)
__all__ = ["CLASSES", "COLOURS", "THINGS", "Label", "LabelledView", "ViewMaker", "labels_of"]
#: A thing that shows fewer pixels, or a piece of furniture, can't be told; it is labelled as not clear.
CLEAR_THING_PX, CLEAR_FURNITURE_PX = 20, 250


@dataclass(frozen=True, slots=True)
class Label:
    """Something in a picture.

    Attributes:
        name: One of CLASSES.
        colour: One of COLOURS, '' for furniture.
        box: (x0, y0, x1, y1) [pixel] around the pixels that show it; x1 and y1 exclusive.
        pixels: How many there are.
        clear: Whether that is enough; what isn't clear must neither be found nor count as an error.
    """

    name: str
    colour: str
    box: tuple[int, int, int, int]
    pixels: int
    clear: bool


@dataclass(frozen=True, slots=True)
class LabelledView:
    """A picture uint8 (H,W,3) of a camera, and what is in it."""

    camera: str
    image: UInt8
    labels: tuple[Label, ...]


class ViewMaker:
    """Draws labelled views; one per process (it holds a renderer).

    Attributes:
        world: The flat that the last view is of.
    """

    def __init__(self) -> None:
        self.world = FlatWorld()
        self._cameras = RgbdCameras(self.world)
        self._poses = PoseDrawer(self.world)

    def draw(
        self, seed: int, split: str = "train", front: int = 30, wrist: int = 12, more: int = 0
    ) -> Iterator[LabelledView]:
        """Views of one flat; the same arguments give the same views.

        Args:
            seed: Of the flat and of the poses.
            split: See `errands.SPLITS`; whoever trains takes 'train'.
            front, wrist: How many of each camera. There are fewer of the wrist where nothing is within reach.
            more: Up to so many more things lie about than in the flat of an errand.

        Raises:
            UnknownNameError: no such split.
        """
        plan = draw_plan(seed, split)
        rng = np.random.default_rng([seed, SPLITS.index(split), 53])
        self.world.place(crowded(plan, rng, more) if more else plan)
        self._poses.enter()
        for _ in range(front):
            self._poses.front(rng)
            yield self.look("front")
        for _ in range(wrist):
            if self._poses.wrist(rng):
                yield self.look("wrist")

    def look(self, camera: str) -> LabelledView:
        """What a camera sees where the robot is now.

        Raises:
            UnknownNameError: no such camera.
        """
        image, geoms = self._cameras.rgb(camera).copy(), self._cameras.geoms(camera)
        return LabelledView(camera, image, labels_of(self.world, geoms))

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()


def labels_of(world: FlatWorld, geoms: Int32) -> tuple[Label, ...]:
    """Labels of a segmented picture: ids of geoms (H,W), -1 for none."""
    model, plan = world.model, world.plan
    owners = np.append(model.geom_bodyid, 0)[geoms]  # -1 takes the last: the world itself
    found = []
    for body in np.unique(owners).tolist():
        name = model.body(body).name
        thing = plan.things[int(name[5:])] if name.startswith("thing") else None
        kind = thing.category if thing else name.partition("/")[0]
        if thing is None and ("/" not in name or kind not in KINDS):
            continue
        rows, columns = np.nonzero(owners == body)
        box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
        least = CLEAR_THING_PX if thing else CLEAR_FURNITURE_PX
        found.append(Label(kind, thing.colour if thing else "", box, len(rows), len(rows) >= least))
    return tuple(found)


def class_index(name: str) -> int:
    """Place of a class in CLASSES.

    Raises:
        UnknownNameError: it isn't one.
    """
    if name not in CLASSES:
        raise UnknownNameError("class", name, CLASSES)
    return CLASSES.index(name)
