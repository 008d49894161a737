"""Remember what has been set up, by a hash of what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def fingerprint(parts: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Hash of texts and of files (name and content), 16 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]


class Stamps:
    """Finished stages with the fingerprint that they had, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            loaded = {}
        self._stages: dict[str, str] = loaded if isinstance(loaded, dict) else {}

    def current(self, stage: str, key: str) -> bool:
        """Whether a stage is finished with this fingerprint."""
        return self._stages.get(stage) == key

    def finish(self, stage: str, key: str) -> None:
        """Record a finished stage (atomically: an interrupted write leaves the old file)."""
        self._stages[stage] = key
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._stages, indent=1), encoding="utf-8")
        new.replace(self._path)
