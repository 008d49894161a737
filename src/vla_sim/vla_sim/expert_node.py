"""Stage 2/4 in simulation only: policy_node with the scripted expert of the scene, who reads the simulator's ground
truth from shared memory. In: observation, world snapshots (shared memory). Out: action_chunk.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vla_core.errors import PolicyError
from vla_policy.core.policy import Policy
from vla_policy.core.preset import EXPERT, load_preset
from vla_policy.policy_node import PolicyNode
from vla_ros import parameters
from vla_ros.node import run
from vla_sim.core.expert_policy import ExpertPolicy

_SCHEMA = Path(__file__).parent / "parameters" / "expert_node.yaml"


class ExpertNode(PolicyNode):
    """See PolicyNode; the graph gives it that node's name and parameters too."""

    def __init__(self) -> None:
        super().__init__()
        self._world_of = parameters.declare(self, _SCHEMA)
        self._expert: ExpertPolicy | None = None

    def load(self, preset: str) -> Policy:
        if load_preset(preset).policy != EXPERT:
            fix = f"launch the graph with policy:={preset}"
            raise PolicyError(f"policy '{preset}' for expert_node", f"a preset of policy '{EXPERT}'", fix)
        self._expert = ExpertPolicy(self._world_of.scene, self._world_of.link, self._contract)
        return self._expert

    def cleanup(self) -> None:
        super().cleanup()
        if self._expert is not None:
            self._expert.close()


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(ExpertNode))


if __name__ == "__main__":
    main()
