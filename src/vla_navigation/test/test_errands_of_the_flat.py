"""Every errand of the generated flats is understood, held-out phrases too, in both languages."""

from __future__ import annotations

import pytest

from vla_navigation.core.task.meaning import FETCH, START
from vla_navigation.core.task.understanding import understand
from vla_sim.core.flat.errands import FAMILIES, LANGUAGES, PHRASES, wording
from vla_sim.core.flat.floor import ROOM_KINDS
from vla_sim.core.flat.furniture import KINDS
from vla_sim.core.flat.things import CATEGORIES, COLOURS


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_thing_place_and_way_back(family: str, language: str) -> None:
    landmarks = {"bring": ("",), "bring_from": tuple(ROOM_KINDS)}.get(family, tuple(KINDS))
    for template in PHRASES[family][language]:
        for i, category in enumerate(CATEGORIES):
            for landmark in landmarks:
                colour = ("", *COLOURS)[i % (len(COLOURS) + 1)]
                said = wording(template, language, colour, category, landmark)
                (meant,) = understand(said)
                assert meant.thing is not None and (meant.thing.name, meant.thing.colour) == (category, colour), said
                assert meant.goal == FETCH and meant.destination == START, said
                assert [r.anchor.name for r in meant.where] == ([landmark.replace("_", " ")] if landmark else []), said
