"""Stands in for LIBERO's scene: a point that each step moves by LIBERO's units; done from x = 0.2 m on."""

from __future__ import annotations

import numpy as np

SCALE = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5])


class Scene:
    actions, limit = 7, 220

    def __init__(self, size: int) -> None:
        self.size, self.numbers = size, np.zeros(8)

    def reset(self, name: str, seed: int) -> None:
        self.numbers = np.array([*np.zeros(6), 0.01 * seed, float(len(name))])

    def step(self, action: np.ndarray) -> bool:
        self.numbers[:6] += SCALE * action[:6]
        return bool(self.numbers[0] >= 0.2 and action[6] > 0.0)

    def state(self) -> np.ndarray:
        return self.numbers

    def draw(self) -> np.ndarray:
        return np.stack([np.full((self.size, self.size, 3), colour, np.uint8) for colour in (10, 200)])

    def label(self, horizon: int) -> np.ndarray:
        raise PermissionError(horizon)

    def close(self) -> None:
        """Nothing to free."""


def open_scene(mode: str, size: int) -> Scene:
    return Scene(size)
