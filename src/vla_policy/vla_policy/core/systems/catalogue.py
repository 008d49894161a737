"""All systems by name: every module of this package files its own, installed entry points add those of others."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from vla_core.errors import ConfigError
from vla_policy.core import systems
from vla_policy.core.preset import Preset
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, System


def make_system(preset: Preset, sizes: Sizes) -> System:
    """The untrained system of a preset.

    Raises:
        ConfigError: the preset is broken.
        UnknownNameError: no such system; lists the known ones.
    """
    model: dict[str, Any] = dict(preset.model)
    for key in ("system", "eyes"):
        if not isinstance(model.pop(key, None), str):
            raise ConfigError(f"{preset.name}.yaml without model: {key}", "a name", "write it there")
    for module in pkgutil.iter_modules(systems.__path__):
        importlib.import_module(f"{systems.__name__}.{module.name}")
    return SYSTEMS.get(preset.model["system"])(model, preset.decoding, sizes)
