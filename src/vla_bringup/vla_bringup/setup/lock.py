"""`./vla python -m vla_bringup.setup.lock`: write requirements/*.txt from *.in and what is installed.

Each lock is the closure of its list over the installed packages' own metadata, less what an earlier lock holds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vla_core.errors import SetupError

ORDER = ("stack", "dev", "ros")
# Supplied by another wheel (lark-parser), or meant for another platform's wheel of the same thing.
NEVER = {"lark", "pip"}


def wanted(listing: Path) -> dict[str, bool]:
    """Names in a .in file → whether their own dependencies are wanted too (not where a comment says 'alone')."""
    lines = (line.partition("#") for line in listing.read_text(encoding="utf-8").splitlines())
    return {name.strip(): not comment.strip().startswith("alone") for name, _, comment in lines if name.strip()}


def closure(names: Mapping[str, bool]) -> dict[str, str]:
    """Packages reachable from some names through installed metadata: canonical name → public version.

    Args:
        names: What is listed, as `wanted` returns it.

    Raises:
        SetupError: a needed package isn't installed.
    """
    found: dict[str, str] = {}
    waiting = [(Requirement(name), "the list") for name in names]
    done: set[str] = set()
    while waiting:
        requirement, parent = waiting.pop()
        name, key = canonicalize_name(requirement.name), str(requirement)
        if key in done or name in NEVER:
            continue
        done.add(key)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            got = f"{parent} needing '{name}', not installed"
            raise SetupError(got, "it installed", f"pip install '{key}'") from error
        found[name] = package.version.partition("+")[0]
        for line in (package.requires or []) if names.get(name, True) else []:
            child = Requirement(line)
            extras = requirement.extras or {""}
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((child, name))
    return found


def main() -> int:
    """Write the locks; returns the exit status."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd() / "requirements"
    held: set[str] = set()
    for kind in ORDER:
        needed = closure(wanted(folder / f"{kind}.in"))
        packages = {name: version for name, version in needed.items() if name not in held}
        held |= set(packages)
        lines = [f"# Locked from {kind}.in; written by vla_bringup.setup.lock.\n"]
        lines += [f"{name}=={version}\n" for name, version in sorted(packages.items())]
        (folder / f"{kind}.txt").write_text("".join(lines), encoding="utf-8")
        print(f"{kind}.txt: {len(packages)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
