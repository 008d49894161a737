"""`./vla python -m vla_bringup.setup.lock`: write requirements/*.txt from *.in and what is installed.

Each lock is the closure of its list over the installed packages' own metadata, less what an earlier lock holds. Only
the half of the Python that runs this (3.10, or 3.11 and later) is written anew; pins of the other half are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vla_bringup.setup import wheels
from vla_core.errors import SetupError

ORDER = ("stack", "dev", "ros")
# Supplied by another wheel (lark-parser), or meant for another platform's wheel of the same thing.
NEVER = {"lark", "pip"}
# What torch's CUDA build asks for; set-up fetches it beside the locks where an index serves that build.
CUDA = ("cuda-", "nvidia-", "triton")


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
        if key in done or name in NEVER or name.startswith(CUDA):
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


def merged(halves: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Lines of a lock: unmarked where both halves pin the same version.

    Args:
        halves: Key of `wheels.HALVES` → name → version.
    """
    lines = []
    for name in sorted(set().union(*halves.values())):
        versions = {half: pins[name] for half, pins in halves.items() if name in pins}
        if len(versions) == len(halves) and len(set(versions.values())) == 1:
            lines.append(f"{name}=={versions.popitem()[1]}\n")
        else:
            lines += [f"{name}=={versions[half]}; {mark}\n" for half, mark in wheels.HALVES.items() if half in versions]
    return lines


def rewrite(lock: Path, half: str, packages: Mapping[str, str]) -> None:
    """Write one half of a lock, keep the other."""
    halves = {key: dict(_split(pin) for pin in wheels.pins(lock, key)) for key in wheels.HALVES}
    halves[half] = dict(packages)
    head = f"# Locked from {lock.stem}.in; written by vla_bringup.setup.lock.\n"
    lock.write_text(head + "".join(merged(halves)), encoding="utf-8")


def _split(pin: str) -> tuple[str, str]:
    name, _, version = pin.partition("==")
    return name, version


def main() -> int:
    """Write the locks; returns the exit status."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd() / "requirements"
    half = wheels.half_of(f"{sys.version_info[0]}.{sys.version_info[1]}")
    held: set[str] = set()
    for kind in ORDER:
        needed = closure(wanted(folder / f"{kind}.in"))
        packages = {name: version for name, version in needed.items() if name not in held}
        held |= set(packages)
        rewrite(folder / f"{kind}.txt", half, packages)
        print(f"{kind}.txt: {len(packages)} packages for Python {half}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
