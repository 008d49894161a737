"""What a policy of a published checkpoint is fed, and what every such network offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from vla_core.registry import Registry
from vla_policy.checkpoints.lerobot_files import LerobotCheckpoint
from vla_policy.core import flow
from vla_policy.core.drawing.field import Field, Velocity


class Inputs(NamedTuple):
    """B answers, each from N observations (oldest first) of V views.

    Attributes:
        images: (B,N,V,3,H,W), normalised as the checkpoint wants. Views that the robot lacks aren't among them.
        state: (B,N,S), normalised.
        tokens: (B,L) int64 of the instruction, without padding; L = 0 where the policy takes none.
    """

    images: Tensor
    state: Tensor
    tokens: Tensor


class CheckpointModel(nn.Module, ABC):
    """Draws normalised chunks.

    Attributes:
        history: Observations N that it looks at, one action step apart.
        noise_shape: (T',D') of the noise that a chunk is drawn from.
        steps: T, rows of a chunk from the newest observation on.
        resizes: It takes images of any size.
        instructed: It reads the instruction.
    """

    history = 1
    noise_shape: tuple[int, int]
    steps: int
    resizes = False
    instructed = False

    @classmethod
    @abstractmethod
    def of(cls, checkpoint: LerobotCheckpoint) -> CheckpointModel:
        """The network of a checkpoint, without its weights.

        Raises:
            ConfigError: an option of config.json is missing, unknown or of a wrong type.
            PolicyError: an option that isn't served here.
        """

    @staticmethod
    @abstractmethod
    def weights(checkpoint: LerobotCheckpoint) -> dict[str, Tensor]:
        """Its tensors by our names."""

    @abstractmethod
    def act(self, inputs: Inputs, noise: Tensor) -> Tensor:
        """Inputs and noise (B,T',D') to normalised actions (B,T,D)."""


class FlowModel(CheckpointModel):
    """Draws by flow matching, so that a chunk can be led to continue another one (`core/drawing/`).

    Attributes:
        samples: Euler steps per chunk.
        actions: D, the first of D' numbers that are drawn per step; the others are padding, zero in training.
    """

    samples: int
    actions: int

    @abstractmethod
    def velocity(self, inputs: Inputs) -> Velocity:
        """Velocity of noisy actions (B,T',D') at flow times (B,T'), 0 noise .. 1 data; the inputs are read once."""

    def field(self, inputs: Inputs) -> Field:
        """The same for drawing methods."""
        velocity = self.velocity(inputs)
        return Field(velocity, velocity)

    def act(self, inputs: Inputs, noise: Tensor) -> Tensor:
        """See CheckpointModel: Euler steps."""
        return flow.integrate(self.velocity(inputs), noise, self.samples)[..., : self.actions]


#: By the `type` of LeRobot's config.json; other packages add theirs by entry points of this group.
MODELS: Registry[type[CheckpointModel]] = Registry("LeRobot policy type", "vla_policy.lerobot_models")
