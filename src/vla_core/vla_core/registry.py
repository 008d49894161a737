"""Names to factories, open to other packages by entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from vla_core.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Looks names up among our own factories first, then among installed entry points of the same group."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._own: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a factory under `name`."""

        def file(factory: T) -> T:
            self._own[name] = factory
            return factory

        return file

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._own, *(e.name for e in entry_points(group=self.group))}))

    def get(self, name: str) -> T:
        """Return the factory called `name`.

        Raises:
            UnknownNameError: lists the known names.
        """
        if name in self._own:
            return self._own[name]
        for entry in entry_points(group=self.group):
            if entry.name == name:
                loaded: T = entry.load()
                return loaded
        raise UnknownNameError(self.kind, name, self)
