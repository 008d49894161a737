"""The console as one more process beside a graph."""

from __future__ import annotations

import sys

from vla_bringup.graph import GraphOptions, drives_to_places
from vla_bringup.jobs import Job
from vla_core.files import workspace_root


def console_job(options: GraphOptions, port: int | None = None) -> Job:
    """Process that serves the console of a graph.

    Args:
        options: Of the graph.
        port: TCP port; None: the one in config/bringup.yaml.
    """
    values = {"robot": options.robot, "contract": options.contract, "use_sim_time": str(options.use_sim_time).lower()}
    if drives_to_places(options):
        values["mission"] = "fetch"
    if port is not None:
        values["port"] = str(port)
    arguments = ["--params-file", str(workspace_root() / "config" / "bringup.yaml")]
    if options.namespace:
        arguments += ["-r", f"__ns:=/{options.namespace.strip('/')}"]
    for name, value in values.items():
        arguments += ["-p", f"{name}:={value}"]
    command = (sys.executable, "-m", "vla_bringup.console.console_node", "--ros-args", *arguments)
    return Job("console_node", command, ("console_node",), grace_s=4.0)
