"""Plug-in diffusion expert (Wen et al. 2025, DexVLA, section 3.1): one diffusion transformer, one head per robot.

Everything whose size a robot fixes lies in its head: how its state and actions come in, how they go out, and their
normalisation. The transformer between belongs to all robots. After Zhu et al. 2024, ScaleDP: the condition comes in by
adaLN-zero and not by cross-attention, and steps see each other in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_core.errors import UnknownNameError
from vla_policy.core.blocks.attention import learned
from vla_policy.core.blocks.dit import DitConfig, DitOut, DitTrunk


@dataclass(frozen=True, slots=True)
class RobotConfig:
    """A robot's sizes: state features and numbers per action."""

    state: int
    actions: int


class RobotHead(nn.Module):
    """What belongs to one robot.

    Args:
        config: The robot.
        horizon: Steps of a chunk.
        width: Of the transformer. condition: Of what conditions it.
        seen: State features that encoders and backbone were made for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: RobotConfig, horizon: int, width: int, condition: int, seen: int) -> None:
        super().__init__()
        self.seen = nn.Identity() if config.state == seen else nn.Linear(config.state, seen)
        self.state = nn.Linear(config.state, condition)
        self.action = nn.Linear(config.actions, width)
        self.out = DitOut(width, config.actions)
        self.register_buffer("mean", torch.zeros(horizon, config.actions))
        self.register_buffer("std", torch.ones(horizon, config.actions))


class PlugInExpert(nn.Module):
    """What a diffusion process asks for, of a noisy chunk of one of the robots.

    Args:
        config: Sizes of the transformer.
        horizon: Steps of a chunk.
        condition: Width of the condition.
        seen: See RobotHead.
    """

    def __init__(self, config: DitConfig, horizon: int, condition: int, seen: int) -> None:
        super().__init__()
        self.config, self.horizon, self.width, self.seen = config, horizon, condition, seen
        self.trunk = DitTrunk(config, condition)
        self.step = learned(1, horizon, config.width)
        self.heads = nn.ModuleDict()

    def add(self, robot: str, config: RobotConfig) -> None:
        """A head for one more robot; all others stay as they are."""
        self.heads[robot] = RobotHead(config, self.horizon, self.config.width, self.width, self.seen)

    def head(self, robot: str) -> RobotHead:
        """That of a robot.

        Raises:
            UnknownNameError: there is none; lists the known robots.
        """
        if robot not in self.heads:
            raise UnknownNameError("robot", robot, self.heads)
        head = self.heads[robot]
        assert isinstance(head, RobotHead)
        return head

    def learning(self, robot: str) -> list[nn.Parameter]:
        """Parameters that learn from a robot's data: all but other robots' heads."""
        own = {id(p) for p in self.head(robot).parameters()}
        heads = {id(p) for p in self.heads.parameters()}
        return [p for p in self.parameters() if id(p) in own or id(p) not in heads]

    def forward(self, robot: str, actions: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Noisy actions (B,T,D) at times (B,), 0..1 of the process, under the condition (B,W), to (B,T,D)."""
        head = self.head(robot)
        modulating = self.trunk.modulating(time, condition)
        out: Tensor = head.out(self.trunk(head.action(actions) + self.step, modulating), modulating)
        return out
