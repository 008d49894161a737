"""Policy presets: which policy, which blocks, which sizes. One YAML file each in `config/policies/`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from vla_core.errors import ConfigError, WeightsError
from vla_core.files import asset_path, config_path, load_yaml

T = TypeVar("T")

#: `policy` of the preset that a node of the simulator plays in policy_node's place: it reads ground truth.
EXPERT = "scripted_expert"

#: `policy` of a preset of `core/systems/`.
SYSTEM = "system"
#: `policy` of a preset that is trained as a part of others and never acts itself.
BACKBONE = "backbone"


@dataclass(frozen=True, slots=True)
class Preset:
    """Parsed `config/policies/<name>.yaml`.

    Attributes:
        name: Preset name.
        policy: Name of the policy factory (entry-point group `vla_policy.policies`).
        contract: Name of the contract that it was made for.
        weights: Weight file: absolute, or `<package>/<rest>`; empty where the policy has none.
        model: Blocks and their sizes, read by the policy.
        decoding: How actions are drawn from the model.
        training: Options of the trainer.
    """

    name: str
    policy: str
    contract: str
    weights: str
    model: dict[str, Any]
    decoding: dict[str, Any]
    training: dict[str, Any]

    def weights_path(self) -> Path:
        """Where the weight file lies.

        Raises:
            WeightsError: it doesn't exist; says how to make it.
        """
        if Path(self.weights).is_absolute():
            return Path(self.weights)
        try:
            return asset_path(self.weights)
        except ConfigError as error:
            fix = f"make it by ./vla train --policy {self.name} --out DIR and copy DIR/{self.name}.safetensors there"
            raise WeightsError(f"policy '{self.name}' without its weight file", error.expected, fix) from error

    def has_weights(self) -> bool:
        """Whether the weight file exists; a policy without one has none."""
        try:
            return bool(self.weights) and self.weights_path().is_file()
        except WeightsError:
            return False


def load_preset(name: str) -> Preset:
    """Load `config/policies/<name>.yaml`, or the file when `name` ends in .yaml.

    Raises:
        UnknownNameError: no such preset; lists the known ones.
        ConfigError: a key is missing, unknown or of a wrong type.
    """
    path = config_path("policies", name)
    return parse(Preset, load_yaml(path), path.name)


def parse(kind: type[T], data: Any, where: str) -> T:
    """Fill a flat dataclass from a mapping; nothing is guessed and nothing is ignored.

    Args:
        kind: Dataclass with fields of type int, float, str, bool, tuple or dict.
        data: The mapping.
        where: Name for messages, such as 'tabletop_flow.yaml: head'.

    Raises:
        ConfigError: a key is missing, unknown or of a wrong type.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} holding {type(data).__name__}", "a mapping", f"mend {where}")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(data.keys() - known.keys())
    missing = sorted(n for n, f in known.items() if f.default is MISSING and n not in data)
    if unknown or missing:
        got = f"{where} with unknown keys {unknown} and missing keys {missing}"
        raise ConfigError(got, f"the keys {sorted(known)}", f"mend {where}")
    return kind(**{n: _cast(known[n].type, data[n], f"{where}: {n}") for n in data})


def _cast(annotation: Any, value: Any, where: str) -> Any:
    name = str(annotation).partition("[")[0]
    expected: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "bool": (bool,),
        "tuple": (list, tuple),
        "dict": (dict,),
    }
    if not isinstance(value, expected[name]) or (isinstance(value, bool) and name != "bool"):
        raise ConfigError(f"{where} = {value!r}", f"a value of type {annotation}", f"mend {where}")
    if isinstance(value, int) and name == "float":
        return float(value)
    return tuple(value) if isinstance(value, list) and name == "tuple" else value
