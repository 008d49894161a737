"""Low-rank adaptation (Hu et al. 2022, LoRA): a frozen linear layer learns by two thin matrices beside it.

Equation 3: W x becomes W x + alpha/r B A x, with A (r, inputs) random and B (outputs, r) zero at first. Matrices live
beside the adapted module, not in it: its tensors keep their names and their bits, so that published weights load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError, UnknownNameError


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """A preset's `lora` section.

    Attributes:
        rank: r.
        alpha: Strength; alpha / r scales what is learnt.
        targets: Last names of the linear layers that are adapted, such as query, key and value.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]


class LowRank(nn.Module):
    """What one linear layer learns."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.scale, self.merged = scale, False
        self.a = nn.Parameter(torch.empty(rank, linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def add(self, linear: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
        """Forward hook of the linear layer."""
        if self.merged:
            return out
        learnt: Tensor = (inputs[0].to(self.a.dtype) @ self.a.T @ self.b.T) * self.scale
        return out + learnt.to(out.dtype)

    def product(self) -> Tensor:
        """What is added to the weight (outputs, inputs)."""
        return self.scale * self.b @ self.a


class Lora(nn.Module):
    """Adapters of all linear layers of a module that have one of the names; the module is frozen.

    Args:
        config: Rank and names.
        module: What is adapted. It runs with the adapters from now on; a deep copy must take both, or the copy goes on
            with these adapters.

    Raises:
        ConfigError: no rank, or a name that no linear layer has.
    """

    def __init__(self, config: LoraConfig, module: nn.Module) -> None:
        super().__init__()
        found = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear)}
        last = {name: name.rpartition(".")[2] for name in found}
        for target in config.targets:
            if target not in last.values():
                raise UnknownNameError("linear layer", target, set(last.values()))
        if config.rank < 1 or not config.targets:
            got = f"lora of rank {config.rank} on {list(config.targets)}"
            raise ConfigError(got, "a rank of at least 1 and names of layers", "mend the preset")
        module.requires_grad_(False)
        self.adapted = {name: linear for name, linear in found.items() if last[name] in config.targets}
        scale = config.alpha / config.rank
        self.adapters = nn.ModuleDict({_key(n): LowRank(m, config.rank, scale) for n, m in self.adapted.items()})
        for name, linear in self.adapted.items():
            linear.register_forward_hook(self._of(name).add)
        self._weights: dict[str, Tensor] = {}

    def share(self, whole: nn.Module) -> float:
        """Weights that learn, of all weights of `whole` and of these adapters."""
        learning = sum(p.numel() for p in self.parameters())
        return learning / (sum(p.numel() for p in whole.parameters()) + learning)

    @torch.no_grad()
    def merge(self) -> None:
        """Put what was learnt into the weights, for inference at the cost of the bare module (section 4.1)."""
        for name, linear in self.adapted.items():
            if name not in self._weights:
                self._weights[name] = linear.weight.clone()
                linear.weight += self._of(name).product().to(linear.weight.dtype)
                self._of(name).merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Give the frozen weights back, bit for bit."""
        for name, weight in self._weights.items():
            self.adapted[name].weight.copy_(weight)
            self._of(name).merged = False
        self._weights.clear()

    def _of(self, name: str) -> LowRank:
        adapter = self.adapters[_key(name)]
        assert isinstance(adapter, LowRank)
        return adapter


def _key(name: str) -> str:
    """Names of submodules hold no dots."""
    return name.replace(".", "/")
