"""The scripted expert of the flat's errands: there is none yet, and nothing pretends to be one."""

from __future__ import annotations

from vla_core.errors import PolicyError
from vla_core.types import Float32
from vla_sim.core.flat.world import FlatWorld


def clean_chunk(world: FlatWorld, horizon: int, dt_s: float) -> Float32:
    """Refuse.

    Raises:
        PolicyError: always.
    """
    got = f"the scripted expert asked for a chunk in scene '{world.scene['name']}'"
    raise PolicyError(got, "a policy of contract 'fetch_so101'", "train one and launch with policy:=<its preset>")
