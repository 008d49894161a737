"""`vla param NODE NAME [VALUE]`: read or change a parameter of a running node, where there is no `ros2 param`."""

from __future__ import annotations

import argparse
import time

import yaml

from vla_bringup.session import Session
from vla_core.errors import GraphError

_LOOK_S = 12.0  # for the node: participants of DDS announce themselves every 3 s, and an announcement may get lost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla param`."""
    parser.add_argument("node", metavar="NODE", help="for example executor_node")
    parser.add_argument("name", metavar="NAME", help="for example strategy; docs/parameters.md lists all")
    parser.add_argument("value", metavar="VALUE", nargs="?", help="new value; without one the present one is printed")


def run(args: argparse.Namespace) -> int:
    """Print the parameter's value, after the change where one is asked for.

    Raises:
        GraphError: there is no such node or parameter, or no answer.
        ConfigError: the node refuses the value.
    """
    with Session("vla_param") as session:
        _find(session, args.node)
        if args.value is not None:
            session.set_parameters(args.node, {args.name: yaml.safe_load(args.value)})
        value = session.parameter(args.node, args.name)
    print(f"{args.node} {args.name}: {value}")
    return 0


def _find(session: Session, name: str) -> None:
    until_s = time.monotonic() + _LOOK_S
    while name not in (known := session.node.get_node_names()):
        if time.monotonic() > until_s:
            others = ", ".join(sorted({*known} - {session.node.get_name()})) or "none"
            raise GraphError(f"no node '{name}' in this ROS domain", f"one of: {others}", "start the graph first")
        time.sleep(0.1)
