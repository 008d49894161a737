"""A flat for an episode: floor, furniture, things, the robot's start, the errand. All of it is ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_core.errors import UnknownNameError, UnknownObjectError
from vla_sim.core.flat.errands import (
    FAMILIES,
    LANGUAGES,
    SPLITS,
    Errand,
    Wish,
    parse_instruction,
    phrases,
    wording,
)
from vla_sim.core.flat.floor import Floor, draw_floor
from vla_sim.core.flat.free_space import FreeSpace
from vla_sim.core.flat.furnish import Placed, furnish
from vla_sim.core.flat.spots import Spots, Thing
from vla_sim.core.flat.things import CATEGORIES, COLOURS, FLOOR, HELD_OUT_PAIRS, allowed_pairs
from vla_sim.core.tasks import Item

_OTHERS = (7, 11)  # how many things lie around besides the target
_AWAY_M = 2.0  # the target lies at least this far from the start
_START_CLEARANCE_M = 0.33
_FLATS = 60  # tried for one seed until one has room for the errand


@dataclass(frozen=True, slots=True)
class FlatPlan:
    """What a flat is made of. The first of `things` is the errand's target; `start` is x, y [m], yaw [rad]."""

    seed: int
    split: str
    floor: Floor
    furniture: tuple[Placed, ...]
    things: tuple[Thing, ...]
    start: tuple[float, float, float]
    errand: Errand

    @property
    def target(self) -> Thing:
        return self.things[0]


def draw_plan(seed: int, split: str = "train", instruction: str | None = None, family: str | None = None) -> FlatPlan:
    """Draw a flat with an errand in it; the same arguments give the same plan.

    Args:
        seed: Decides everything that is random.
        split: One of SPLITS; all but `train` are flats that training never sees (see floor).
        instruction: Build the flat for this errand instead of drawing one.
        family: Draw an errand of this family.

    Raises:
        UnknownNameError: no such split or family.
        UnknownObjectError: the instruction is no errand, or no flat of this seed has room for it.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if family and family not in FAMILIES:
        raise UnknownNameError("errand family", family, FAMILIES)
    wish = parse_instruction(instruction) if instruction else None
    rng = np.random.default_rng([seed, int(split != "train"), 41])
    for _ in range(_FLATS):
        floor = draw_floor(rng, evaluation=split != "train")
        space = FreeSpace(floor)
        furniture = furnish(rng, floor, space)
        if furniture is None:
            continue
        plan = _populate(rng, (seed, split), space, tuple(furniture), wish, instruction, family)
        if plan is not None:
            return plan
    raise UnknownObjectError(f"instruction '{instruction}'", "an errand that a flat has room for", "take another seed")


def _populate(
    rng: np.random.Generator,
    key: tuple[int, str],
    space: FreeSpace,
    furniture: tuple[Placed, ...],
    wish: Wish | None,
    instruction: str | None,
    family: str | None,
) -> FlatPlan | None:
    seed, split = key
    spots = Spots(space, furniture)
    drawn = wish or _draw_wish(rng, split, space.floor, furniture, family)
    if drawn.family == "bring_from" and drawn.landmark not in {room.kind for room in space.floor.rooms}:
        return None
    colour = drawn.colour or _draw_colour(rng, split, drawn.category)
    asked = {"bring_from": "room", "bring_on": "on", "bring_near": "near"}.get(drawn.family)
    wanted = {asked: drawn.landmark} if asked else {}
    target = spots.draw(rng, colour, drawn.category, reachable=True, **wanted)
    if target is None:
        return None
    others = _draw_others(rng, spots, drawn, target)
    start = _draw_start(rng, space, target)
    if start is None:
        return None
    text = instruction
    if not text:
        template = str(rng.choice(phrases(drawn.family, drawn.language, split)))
        text = wording(template, drawn.language, drawn.colour, drawn.category, drawn.landmark)
    errand = Errand(
        drawn.family, text, (Item(colour, drawn.category),), landmark=drawn.landmark, language=drawn.language
    )
    return FlatPlan(seed, split, space.floor, furniture, (target, *others), start, errand)


def _draw_wish(
    rng: np.random.Generator, split: str, floor: Floor, furniture: tuple[Placed, ...], family: str | None
) -> Wish:
    family = family or str(rng.choice(FAMILIES))
    language = str(rng.choice(LANGUAGES))
    pairs = allowed_pairs(split)
    colour, category = pairs[int(rng.integers(len(pairs)))]
    kinds = [placed.piece.kind for placed in furniture]
    landmark = ""
    if family == "bring_from":
        landmark = str(rng.choice([room.kind for room in floor.rooms]))
    elif family in ("bring_on", "bring_near"):
        fitting = set(CATEGORIES[category].places) if family == "bring_on" else set(kinds) - {"chair"}
        choice = sorted(kind for kind in set(kinds) & fitting if kinds.count(kind) == 1)
        if choice:
            landmark = str(rng.choice(choice))
        else:
            family = "bring"
    named = family == "bring" or split == "heldout_pair" or rng.random() < 0.5
    return Wish(family, colour if named else "", category, landmark, language)


def _draw_colour(rng: np.random.Generator, split: str, category: str) -> str:
    pairs = allowed_pairs("train" if split == "train" else "heldout_flat")
    return str(rng.choice([colour for colour, kind in pairs if kind == category]))


def _draw_others(rng: np.random.Generator, spots: Spots, wish: Wish, target: Thing) -> list[Thing]:
    """Things that the instruction doesn't mean; one or two are of the target's category."""
    pairs = [(c, k) for c in COLOURS for k in CATEGORIES
             if (c, k) not in HELD_OUT_PAIRS and (c, k) != (target.colour, target.category)]  # fmt: skip
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    alike = [pair for pair in pairs if pair[1] == target.category][: int(rng.integers(1, 3))]
    rest = [pair for pair in pairs if pair[1] != target.category]
    others: list[Thing] = []
    for colour, category in (*alike, *rest[: int(rng.integers(*_OTHERS))]):
        if category == target.category and not wish.colour and not wish.landmark:
            continue  # "the mug": there is one
        thing = spots.draw(rng, colour, category)
        if thing is not None and not _meant(thing, wish):
            others.append(thing)
    return others


def crowded(plan: FlatPlan, rng: np.random.Generator, count: int) -> FlatPlan:
    """The same flat with up to `count` more things in it, of pairs that it may show and doesn't yet.

    For pictures only: an errand may mean several of them.
    """
    space = FreeSpace(plan.floor)
    lying = [(thing.x, thing.y, CATEGORIES[thing.category].radius) for thing in plan.things if thing.on == FLOOR]
    space.take([placed.rect for placed in plan.furniture], lying)
    spots = Spots(space, plan.furniture)
    spots.keep(plan.things)
    there = {(thing.colour, thing.category) for thing in plan.things}
    pairs = [(c, k) for c in COLOURS for k in CATEGORIES if (c, k) not in HELD_OUT_PAIRS and (c, k) not in there]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:count]]
    drawn = (spots.draw(rng, colour, category) for colour, category in chosen)
    return replace(plan, things=(*plan.things, *(thing for thing in drawn if thing is not None)))


def _meant(thing: Thing, wish: Wish) -> bool:
    """Whether an instruction could mean this thing as well."""
    if thing.category != wish.category or wish.colour not in ("", thing.colour):
        return False
    return {
        "bring": True,
        "bring_from": thing.room == wish.landmark,
        "bring_on": thing.on == wish.landmark,
        "bring_near": wish.landmark in thing.near,
    }[wish.family]


def _draw_start(rng: np.random.Generator, space: FreeSpace, target: Thing) -> tuple[float, float, float] | None:
    """Where the robot stands at first: in the open, away from the target."""
    reached = space.reached()
    assert reached is not None, "things leave every room reachable"
    cells = space.centres(reached & (space.clearance() > _START_CLEARANCE_M))
    cells = cells[np.hypot(cells[:, 0] - target.x, cells[:, 1] - target.y) > _AWAY_M]
    if not len(cells):
        return None
    x, y = cells[int(rng.integers(len(cells)))]
    return float(x), float(y), float(rng.uniform(-np.pi, np.pi))
