"""Which of two backbones answers: the small one wherever it is known to be enough (Chen et al. 2025, NanoVLA, dynamic
routing by Bayesian modelling of success).

The success theta of a backbone at a task is Beta distributed after binomial trials. What became of similar instructions
e_j is evidence for instruction e, weighted by similarity k_j = exp(-|e - e_j|^2 / (2 W reach^2)):

    theta | e  ~  Beta(1 + sum_j k_j successes_j, 1 + sum_j k_j failures_j)

The small backbone answers where P(theta_small >= theta_large - margin) >= confidence. Elsewhere it is uncertain whether
it is enough, and the large one answers; so it does whatever nothing is known of.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError

SAME = 0.9  # similarity from which two instructions are one task
_GRID = 512  # places at which the two densities are compared


@dataclass(frozen=True, slots=True)
class BetaRouterConfig:
    """A preset's `router` section.

    Attributes:
        tasks: Most instructions that are kept; later ones live on what is known of similar ones.
        reach: How far evidence carries; 1 is the typical distance of two unrelated whitened sentences.
        margin: How much less success is still enough.
        confidence: Of being enough, from which the small backbone answers.
        memory: Most trials that are remembered per task and backbone, so that a task can be learnt, or unlearnt.
    """

    tasks: int = 256
    reach: float = 0.3
    margin: float = 0.05
    confidence: float = 0.8
    memory: float = 400.0

    def check(self) -> BetaRouterConfig:
        """Return self.

        Raises:
            ConfigError: a value out of range.
        """
        if (
            self.tasks < 1
            or self.reach <= 0
            or self.memory < 1
            or not 0 <= self.margin < 1
            or not 0 < self.confidence < 1
        ):
            raise ConfigError(
                f"{self}", "tasks, memory >= 1, reach > 0, margin and confidence in 0..1", "mend the preset"
            )
        return self


def at_least(small: Tensor, large: Tensor, margin: float) -> Tensor:
    """P(theta_small >= theta_large - margin) (B,) of Beta distributions (B,2), each alpha and beta >= 1."""
    grid = (torch.arange(_GRID, device=small.device) + 0.5) / _GRID

    def density(beta: Tensor) -> Tensor:
        a, b = beta.double()[:, :, None].unbind(1)
        return torch.softmax((a - 1) * grid.log() + (b - 1) * (-grid).log1p(), -1)

    below = density(large).cumsum(-1)  # theta_large up to each place
    place = (torch.arange(_GRID, device=small.device) + round(margin * _GRID)).clamp(max=_GRID - 1)
    return (density(small) * below[:, place]).sum(-1).to(small.dtype)


class BetaRouter(nn.Module):
    """Evidence of two backbones, 0 small and 1 large, and the choice between them.

    Args:
        config: Options.
        sentence: Width W of whitened sentence embeddings.
    """

    tasks: Tensor
    trials: Tensor

    def __init__(self, config: BetaRouterConfig, sentence: int) -> None:
        super().__init__()
        self.config = config.check()
        self.register_buffer("tasks", torch.zeros(config.tasks, sentence))
        self.register_buffer("trials", torch.zeros(config.tasks, 2, 2))  # of backbone: successes, failures

    @torch.no_grad()
    def observe(self, sentence: Tensor, succeeded: Tensor) -> None:
        """Count trials; of tasks that are new, one per call is kept.

        Args:
            sentence: (B,W) instructions.
            succeeded: bool (B,2) what became of them with either backbone.
        """
        near, place = self._similarity(sentence).max(1)
        free = (self.trials.sum((1, 2)) == 0).nonzero()
        new = (near < SAME).nonzero()
        if len(free) and len(new):
            self.tasks[free[0, 0]] = sentence[new[0, 0]]
            near, place = self._similarity(sentence, counted=int(free[0, 0])).max(1)
        known = near >= SAME
        outcome = torch.stack([succeeded, ~succeeded], 2).to(self.trials)
        self.trials.index_add_(0, place[known], outcome[known])
        self.trials *= (self.config.memory / self.trials.sum(2, keepdim=True)).clamp(max=1.0)

    def posterior(self, sentence: Tensor) -> Tensor:
        """Alpha and beta of instructions (B,W) for either backbone, (B,2,2)."""
        return 1.0 + torch.einsum("bs,sij->bij", self._similarity(sentence), self.trials)

    def escalates(self, sentence: Tensor) -> Tensor:
        """Which instructions (B,W) go to the large backbone, bool (B,)."""
        small, large = self.posterior(sentence).unbind(1)
        return at_least(small, large, self.config.margin) < self.config.confidence

    def _similarity(self, sentence: Tensor, counted: int | None = None) -> Tensor:
        """(B,S) to the tasks that have trials, and the one that is about to; 0 to the other places."""
        used = self.trials.sum((1, 2)) > 0
        if counted is not None:
            used[counted] = True
        squared = torch.cdist(sentence, self.tasks).square() / (2 * sentence.shape[1])
        return torch.exp(-squared / self.config.reach**2) * used
