"""Declare a node's parameters from its schema and hand them over as one frozen object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from vla_core.errors import ConfigError
from vla_ros.schema import ParameterSpec, load_schema, values_file

_ROS_TYPES = {
    "bool": Parameter.Type.BOOL,
    "int": Parameter.Type.INTEGER,
    "double": Parameter.Type.DOUBLE,
    "string": Parameter.Type.STRING,
    "string_array": Parameter.Type.STRING_ARRAY,
    "double_array": Parameter.Type.DOUBLE_ARRAY,
}


class Parameters:
    """The values of a node's parameters as attributes; arrays are tuples, nothing can be assigned."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"no parameter '{name}'; known: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"parameter '{name}' is frozen; set it on the node")

    def __iter__(self) -> Iterator[str]:
        return iter(object.__getattribute__(self, "_values"))

    def __repr__(self) -> str:
        return f"Parameters({object.__getattribute__(self, '_values')})"


def declare(node: Node, schema_path: Path, on_change: Callable[[Parameters], None] | None = None) -> Parameters:
    """Declare every parameter of a schema and read its value from the node's overrides (file or launch).

    Args:
        node: The node.
        schema_path: `src/<package>/<package>/parameters/<node>.yaml`.
        on_change: Called with the new values after a parameter that isn't read-only was set at run time.

    Returns:
        The values.

    Raises:
        ConfigError: a value is missing, of a wrong type or out of bounds; names the parameter and its file.
    """
    specs = {spec.name: spec for spec in load_schema(schema_path)}
    source = values_file(schema_path)
    values = {name: _declare(node, spec, source) for name, spec in specs.items()}

    post_set = getattr(node, "add_post_set_parameters_callback", None)

    def check(changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name in specs:
                    specs[change.name].check(change.value, "the value that is being set")
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if post_set is None:  # Humble
            apply(changes)
        return SetParametersResult(successful=True)

    def apply(changes: list[Parameter]) -> None:
        ours = {c.name: specs[c.name].check(c.value, source) for c in changes if c.name in specs}
        values.update(ours)
        if ours and on_change is not None:
            on_change(Parameters(values))

    node.add_on_set_parameters_callback(check)
    if post_set is not None:
        post_set(apply)
    return Parameters(values)


def _declare(node: Node, spec: ParameterSpec, source: str) -> Any:
    fix = f"set it under {node.get_name()} in {source} or in the launch"
    try:
        node.declare_parameter(spec.name, _ROS_TYPES[spec.type], _descriptor(spec))
        value = node.get_parameter(spec.name).value
    except ParameterUninitializedException as error:
        raise ConfigError(f"no value for parameter '{spec.name}'", spec.expectation(), fix) from error
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ConfigError(f"parameter '{spec.name}': {error}", spec.expectation(), fix) from error
    return spec.check(value, source)


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=spec.description,
        additional_constraints=spec.expectation(),
        read_only=spec.read_only,
    )
    if spec.bounded and spec.type == "double":
        descriptor.floating_point_range = [FloatingPointRange(from_value=spec.bounds[0], to_value=spec.bounds[1])]
    elif spec.bounded and spec.type == "int":
        low, high = max(spec.bounds[0], -(2.0**62)), min(spec.bounds[1], 2.0**62)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor
