"""`vla view`: the live console in the browser, beside a graph that runs already (robot, `ros2 launch`, `vla demo`)."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress

from vla_bringup.console.job import console_job
from vla_bringup.graph import GraphOptions
from vla_bringup.results import save
from vla_bringup.runner import Runner
from vla_core.files import config_path, load_yaml, workspace_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla view`."""
    known = GraphOptions.describe()
    for name in ("robot", "contract", "namespace"):
        default, description = known[name]
        parser.add_argument(f"--{name}", default=default, help=f"{description} (default '{default}')")
    parser.add_argument("--no-sim-time", action="store_true", help="for a physical robot: the wall clock, not /clock")
    parser.add_argument("--port", type=int, help="TCP port of the page (default: the one in config/bringup.yaml)")


def run(args: argparse.Namespace) -> int:
    """Serve the console until Ctrl-C; 0 unless it breaks.

    Raises:
        VlaError: an unknown name, or a console that can't start or dies.
    """
    config_path("robots", args.robot)
    config_path("contracts", args.contract)
    options = GraphOptions(
        robot=args.robot, contract=args.contract, namespace=args.namespace, use_sim_time=not args.no_sim_time
    )
    url = console_url(args.port)
    with Runner([console_job(options, args.port)], "view", args.out / "logs") as runner:
        print(f"{url} (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                runner.check()
                time.sleep(0.2)
    assert runner.report is not None
    save(args.out, "result", {"success": runner.report.clean, "url": url})
    return 0 if runner.report.clean else 1


def console_url(port: int | None = None) -> str:
    """Where the console is served; `port` replaces the one in config/bringup.yaml."""
    values = load_yaml(workspace_root() / "config" / "bringup.yaml")["/**/console_node"]["ros__parameters"]
    return f"http://{values['host']}:{port or values['port']}"
