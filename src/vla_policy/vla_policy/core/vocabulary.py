"""Which objects and colours a policy has been taught, and whether an instruction keeps to them.

Instructions are read shallowly: a noun phrase starts after a determiner, verb or preposition and ends at the next
function word; its last word is the thing that is named. That word, and every colour, must have been taught.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vla_core.errors import UnknownObjectError

COLOURS = frozenset(
    "red green blue yellow white black orange purple pink brown grey gray cyan magenta violet turquoise teal beige "
    "gold golden silver navy maroon olive lime indigo crimson scarlet tan ivory lilac transparent".split()
)
DETERMINERS = frozenset("the a an this that these those my your his her its our their some any each every one".split())
PREPOSITIONS = frozenset(
    "in into inside on onto over under above below beside behind near by at to from with next off out of up down "
    "between against toward towards through around upon".split()
)
FILLERS = frozenset(
    "and then also please now again first second finally next after before while when so but or if not don't it "
    "them they there here back away together both robot can could would you we i me just carefully slowly gently "
    "kindly immediately soon right left top other front side is are be it's all for me hey ok okay thanks thank".split()
)
VERBS = frozenset(
    "pick place put move push press open close shut pull grab grasp take lift stack sort bring set drop lay hold get "
    "slide insert turn touch fetch carry release leave give store deposit raise transfer hit tap use make let shove go "
    "build belong tidy swap find look".split()
)
QUALIFIERS = frozenset(
    "own same matching big small large little tiny tall short round square shiny new old wooden plastic metal".split()
)
FUNCTION_WORDS = DETERMINERS | PREPOSITIONS | FILLERS | VERBS
PHRASE_STARTERS = DETERMINERS | PREPOSITIONS | VERBS


def words(text: str) -> list[str]:
    """Lower-case words of a sentence."""
    return re.findall(r"[a-z0-9][a-z0-9'-]*", text.lower())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a policy has been taught.

    Attributes:
        objects: Names of objects, such as 'red cube', for messages.
        taught: Every word of the training instructions and object names.
    """

    objects: tuple[str, ...]
    taught: frozenset[str]

    @classmethod
    def from_corpus(cls, instructions: Iterable[str], objects: Iterable[str]) -> Vocabulary:
        """Collect the words that a data set teaches."""
        names = tuple(sorted(set(objects)))
        taught = {w for text in (*instructions, *names) for w in words(text)}
        return cls(names, frozenset(taught))

    @classmethod
    def from_metadata(cls, data: dict[str, Any]) -> Vocabulary:
        """Inverse of `metadata`."""
        return cls(tuple(data["objects"]), frozenset(data["taught"]))

    def metadata(self) -> dict[str, Any]:
        """As JSON-ready lists, for a weight file."""
        return {key: sorted(value) for key, value in asdict(self).items()}

    def check(self, instruction: str) -> None:
        """Accept an instruction whose objects and colours have been taught.

        Raises:
            UnknownObjectError: names the unknown word and lists the known objects.
        """
        phrase: list[str] | None = None
        for word in [*words(instruction), "and"]:
            if word in COLOURS and not self._knows(word):
                self._refuse(word, instruction)
            forms = {word, word.removesuffix("s"), word.removesuffix("es")}
            if not forms & FUNCTION_WORDS:
                if phrase is not None:
                    phrase.append(word)
                continue
            if phrase:
                self._check_phrase(phrase, instruction)
            phrase = [] if forms & PHRASE_STARTERS else None

    def _check_phrase(self, phrase: list[str], instruction: str) -> None:
        named = [w for w in phrase if not w.endswith("ly") and w not in QUALIFIERS]
        if named and not self._knows(named[-1]):
            self._refuse(named[-1], instruction)

    def _knows(self, word: str) -> bool:
        return word in self.taught or word.removesuffix("s") in self.taught or word.removesuffix("es") in self.taught

    def _refuse(self, word: str, instruction: str) -> None:
        known = ", ".join(self.objects)
        raise UnknownObjectError(f"'{word}' in \"{instruction}\"", f"objects among: {known}", "name one of these")
