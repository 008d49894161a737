"""For tests of whole graphs: one that runs on a domain of its own, with a session beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_bringup.graph import Graph
from vla_bringup.jobs import process_jobs
from vla_bringup.runner import Runner
from vla_bringup.session import Session
from vla_ros.testing import private_domain


@contextmanager
def running(graph: Graph, logs: Path) -> Iterator[tuple[Runner, Session]]:
    """Start a graph with the patience that a loaded machine needs; it is stopped at the end."""
    with private_domain():
        runner = Runner(process_jobs(graph), graph.options.link, logs, start_timeout_s=600.0, grace_s=60.0)
        try:
            runner.start()
            with Session(f"{logs.name}_{os.getpid()}", runner.check, mission=graph.mission) as session:
                yield runner, session
        finally:
            runner.stop()
