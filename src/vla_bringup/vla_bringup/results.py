"""Published tables: `docs/results/NAME.json` written by the command that measured, `docs/results.md` made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vla_bringup import machine
from vla_core.errors import ConfigError
from vla_core.files import workspace_root

KEYS = ("command", "revision", "machine", "date", "rows")
Row = Mapping[str, Any]


def save(out: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write `<out>/<name>.json`, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    new.replace(path)
    return path


def table(command: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The content of a published file.

    Args:
        command: What to type to measure again, e.g. './vla bench line --publish'.
        rows: Measured rows.
    """
    return {
        "command": command,
        "revision": machine.revision(),
        "machine": machine.describe(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "rows": [dict(row) for row in rows],
    }


def publish(name: str, content: Mapping[str, Any], docs: Path | None = None) -> Path:
    """Write `docs/results/<name>.json` and make `docs/results.md` anew from all files there."""
    docs = docs or workspace_root() / "docs"
    path = save(docs / "results", name, content)
    (docs / "results.md").write_text(render(docs / "results"), encoding="utf-8")
    return path


def render(folder: Path) -> str:
    """The page: one section per file, with its rows, and above them their summary where it has one.

    Raises:
        ConfigError: a file isn't a published table.
    """
    parts = [
        "# Results\n\nMade from `docs/results/*.json` by the commands that stand here; nothing is typed by hand. "
        "Intervals (ci_low, ci_high) are 95 % Wilson intervals.\n"
    ]
    for path in sorted(folder.glob("*.json")):
        parts.append(_section(path))
    return "\n".join(parts)


def _section(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in KEYS if key not in content]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path.name}: {error}", "a published table", "run its command again") from error
    if missing:
        raise ConfigError(
            f"{path.name} without {', '.join(missing)}", f"keys {', '.join(KEYS)}", "run its command again"
        )
    head = f"## {path.stem}\n\n`{content['command']}`\n\n"
    head += f"{machine.sentence(content['machine'])}; revision {content['revision']}, {content['date']}.\n"
    tables = [markdown_table(content[key]) for key in ("summary", "rows") if key in content]
    return head + "".join(f"\n{one}\n" for one in tables)


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
