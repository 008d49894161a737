"""Latencies of a policy in simulated time, drawn by a seed: what execution strategies are compared under."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DelayModel:
    """From the capture of an observation to the arrival of its chunk.

    Attributes:
        delay_s: Mean [s].
        jitter: Share of the mean by which a delay differs from it at most, evenly distributed, 0..1.
        loss: Share of chunks that never arrive, 0..1.

    Raises:
        ConfigError: a number out of its range.
    """

    delay_s: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.delay_s < 60.0 and 0.0 <= self.jitter <= 1.0 and 0.0 <= self.loss < 1.0):
            got = f"a delay of {self.delay_s} s, jitter {self.jitter}, loss {self.loss}"
            raise ConfigError(got, "0..60 s, jitter 0..1, loss 0..1 (below 1)", "give --delay-ms, --jitter-ms, --loss")


class Delays:
    """Draws one delay after the other.

    Args:
        model: What to draw from.
        seed: Same seed, same delays.
    """

    def __init__(self, model: DelayModel, seed: int) -> None:
        self._model, self._rng = model, np.random.default_rng([seed, 0x64656C61])

    def draw(self) -> tuple[float, bool]:
        """Delay [s] of the next chunk, and whether it arrives; a lost one takes as long, and then nothing comes."""
        place, luck = self._rng.random(2)
        model = self._model
        return model.delay_s * (1.0 + model.jitter * (2.0 * place - 1.0)), bool(luck >= model.loss)
