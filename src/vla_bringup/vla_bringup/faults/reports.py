"""Warnings and errors that nodes tell again and again: a log that repeats itself hides what matters."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

_AGAIN_S = 1.0  # the same line so soon after is no other event
_OFTEN = 3  # so many of the same line are no other events however far apart they are
_TOLD = re.compile(r"^\[(?P<level>WARN|ERROR|FATAL)\] \[(?P<at_s>[\d.]+)\] \[[^]]+\]: (?P<text>.*)$")
_BARE = re.compile(r"^(?P<level>ERROR) (?P<text>\w+: .*)$")  # a process's last word
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")

#: Node -> pattern of what it may say more often, and why.
MAY_REPEAT: Mapping[str, str] = {
    # each is a stall of its own, which is over with the servo's next answer: a busy machine makes many
    "sim_node": r"got no command for \d+ ms; the world stands still",
}


def repeated(node: str, lines: Iterable[str]) -> tuple[str, ...]:
    """Warnings and errors that a node told again: twice within a second, or three times at all.

    Lines that differ in nothing but their numbers are the same.

    Args:
        node: Whose log it is.
        lines: Of the log, oldest first.

    Returns:
        One sentence for each: how often, who, and the line as it came first.
    """
    told: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for line in lines:
        found = _TOLD.match(line) or _BARE.match(line)
        if found is None or re.search(MAY_REPEAT.get(node, "(?!)"), found["text"]):
            continue
        at_s = float(found.groupdict().get("at_s", "nan"))
        told[_NUMBER.sub("#", f"{found['level']} {found['text']}")].append((at_s, found["text"]))
    return tuple(
        f"{len(times)}x {node}: {times[0][1]}"
        for times in told.values()
        if len(times) >= _OFTEN or any(b - a < _AGAIN_S for (a, _), (b, _) in pairwise(times))
    )
