"""Words of config/language/*.yaml, longest first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from vla_core.errors import ConfigError
from vla_core.files import config_path, load_yaml
from vla_navigation.core.task.meaning import Noun

_KINDS = {"things": "thing", "places": "place", "rooms": "room"}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Nouns and colours of one language.

    Attributes:
        nouns: Words → canonical name and kind.
        colours: Words → canonical colour.
        wider: Canonical name → the wider one that fits as well.
        shows: Canonical name of a place → the room that it stands in as a rule.
        habits: Canonical name of a thing → places that it is on as a rule.
    """

    nouns: dict[str, tuple[str, str]]
    colours: dict[str, str]
    wider: dict[str, str]
    shows: dict[str, str]
    habits: dict[str, tuple[str, ...]]

    @property
    def detectable(self) -> tuple[str, ...]:
        """Canonical names of things and places, sorted: what a camera may show."""
        return tuple(sorted({name for name, kind in self.nouns.values() if kind != "room"}))

    def noun(self, words: str, colour: str, said: str) -> Noun:
        """What `words` name; a word that isn't known names itself."""
        name, kind = self.nouns.get(words, (words, "unknown"))
        return Noun(name, colour, kind, said=said)


@cache
def lexicon(language: str, name: str = "household") -> Lexicon:
    """Of 'en' or 'zh'.

    Raises:
        ConfigError: the file is broken, or a word has two meanings.
    """
    data: dict[str, Any] = load_yaml(config_path("language", name))
    nouns: dict[str, tuple[str, str]] = {}
    wider: dict[str, str] = {}
    shows: dict[str, str] = {}
    habits: dict[str, tuple[str, ...]] = {}
    for section, kind in _KINDS.items():
        for canonical, words in data[section].items():
            if "is" in words:
                wider[canonical] = words["is"]
            if "usually_on" in words:
                habits[canonical] = tuple(words["usually_on"])
            shows.update(dict.fromkeys(words.get("shows", ()), canonical))
            for word in words[language]:
                if nouns.setdefault(word, (canonical, kind)) != (canonical, kind):
                    got = f"'{word}' for {nouns[word][0]} and {canonical} in config/language/{name}.yaml"
                    raise ConfigError(got, "one meaning", "leave one of them out")
    colours = {word: colour for colour, words in data["colours"].items() for word in words[language]}
    return Lexicon(dict(sorted(nouns.items(), key=lambda item: -len(item[0]))), colours, wider, shows, habits)
