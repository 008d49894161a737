"""Find configuration and assets: in a source checkout, or in the share folders of an installed workspace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from vla_core.errors import ConfigError, UnknownNameError


def workspace_root() -> Path:
    """Folder that holds `config/` and `launch/`: $VLA_ROOT, the checkout, or vla_bringup's share folder."""
    if "VLA_ROOT" in os.environ:
        return Path(os.environ["VLA_ROOT"])
    for parent in Path(__file__).resolve().parents:
        if (parent / "config" / "contracts").is_dir():
            return parent
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":"):
        share = Path(prefix) / "share" / "vla_bringup"
        if (share / "config").is_dir():
            return share
    raise ConfigError("no folder with config/contracts", "a checkout or an installed vla_bringup", "set VLA_ROOT")


def config_path(kind: str, name: str) -> Path:
    """Path of `config/<kind>/<name>.yaml`.

    Raises:
        UnknownNameError: no such file; lists the names that exist.
    """
    folder = workspace_root() / "config" / kind
    path = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not path.is_file():
        singular = kind[:-3] + "y" if kind.endswith("ies") else kind.removesuffix("s")
        raise UnknownNameError(singular, name, (p.stem for p in folder.glob("*.yaml")))
    return path


def load_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: unreadable, not YAML, or not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path.name}: {reason}", "a readable YAML file", f"mend {path}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name} holding {type(data).__name__}", "a YAML mapping", f"mend {path}")
    return data


def asset_path(relative: str) -> Path:
    """Path of `<package>/<rest>`: under `src/` of a checkout or `share/` of an installed package."""
    package, _, rest = relative.partition("/")
    candidates = [workspace_root() / "src" / package / rest]
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(":")
    candidates += [Path(p) / "share" / package / rest for p in prefixes if p]
    for path in candidates:
        if path.exists():
            return path
    raise ConfigError(f"asset '{relative}', not found", f"a file such as {candidates[0]}", "check the robot file")
