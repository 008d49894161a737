"""Training on several devices: every process draws batches of its own, and their gradients are averaged.

    torchrun --nproc-per-node 4 -m vla_bringup.cli train --policy pi0 --data DIR --out DIR

Data parallelism with one all-reduce per step; process 0 writes files and judges.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that train together.

    Attributes:
        rank: Of this one. size: How many. local: This one's place on its machine, which chooses its device.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @classmethod
    def join(cls) -> Team:
        """Join those that torchrun has started; alone where it hasn't."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        team = cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
        if not distributed.is_initialized():
            if torch.cuda.is_available():
                torch.cuda.set_device(team.local)
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return team

    @property
    def leads(self) -> bool:
        """Whether this process writes and judges."""
        return self.rank == 0

    def begin_alike(self, model: nn.Module) -> None:
        """Give every process the leader's weights."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                distributed.broadcast(tensor, 0)

    def any(self, wanted: bool, device: torch.device) -> bool:
        """Whether any process wants it, so that all stop after the same step."""
        if self.size == 1:
            return wanted
        votes = torch.tensor([float(wanted)], device=device)
        distributed.all_reduce(votes)
        return bool(votes[0] > 0)

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average gradients over the team; a parameter without one on a process counts as zero there."""
        if self.size == 1:
            return
        parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([part.flatten().float() for part in parts])
        distributed.all_reduce(flat)
        begin = 0
        for parameter, part in zip(parameters, parts, strict=True):
            mean: Tensor = flat[begin : begin + part.numel()].view_as(part) / self.size
            parameter.grad = mean.to(part.dtype)
            begin += part.numel()
