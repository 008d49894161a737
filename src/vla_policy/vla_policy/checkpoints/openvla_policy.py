"""OpenVLA and OpenVLA-OFT as a policy: pictures and a sentence to one step, or to a chunk."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vla_core import rotations
from vla_core.contract import Contract
from vla_core.errors import ConfigError, PolicyError, UnknownNameError
from vla_core.types import Float32, Observation, Running, UInt8
from vla_policy.checkpoints.lerobot_policy import DTYPES
from vla_policy.checkpoints.openvla import EMPTY, OpenVla
from vla_policy.checkpoints.openvla_files import OpenVlaCheckpoint, read_openvla
from vla_policy.checkpoints.tokens import Tokens
from vla_policy.checkpoints.units import units
from vla_policy.core.blocks.decoder import RmsNorm
from vla_policy.core.keypoint_policy import check_observation
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.preset import Preset, parse
from vla_policy.core.weights import fill

CROPPED = 0.9  # share of the image's area that training with random crops leaves
RESIZING = ("resize-naive", "letterbox")
ROTATIONS = ("rpy", "rotvec")


@dataclass(frozen=True, slots=True)
class OpenVlaSection:
    """A preset's `model` section.

    Attributes:
        data: Data set whose statistics scale the actions; empty where the checkpoint knows only one.
        bounds: 'q99' (1st and 99th percentile) or 'minmax' (OFT on ALOHA).
        chunk: Steps of OFT's chunk: 8 for LIBERO, 25 for ALOHA, 5 for Bridge; 0 for OpenVLA.
        views: Cameras of the contract in the order of training; empty: all.
        state: Columns of the contract's state in the order of OFT's; empty: all.
        crop: The middle of the image, as for models that were trained on random crops.
        rotation: How a tool_delta's rotation is meant: 'rpy' (roll, pitch, yaw; Open X-Embodiment) or 'rotvec'.
        scale, offset: The contract's units from the checkpoint's, see `units.Units`; empty: they are the same.
        dtype: Of the weights.
    """

    data: str = ""
    bounds: str = "q99"
    chunk: int = 0
    views: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    crop: bool = False
    rotation: str = "rpy"
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    dtype: str = "float32"


class OpenVlaPolicy:
    """See the module. Progress and success stay 0: such a checkpoint doesn't tell."""

    strategies: frozenset[str] = frozenset()

    def __init__(
        self, name: str, contract: Contract, checkpoint: OpenVlaCheckpoint, section: OpenVlaSection, model: OpenVla,
        tokenizer: Tokens,
    ) -> None:  # fmt: skip
        self.name, self.contract, self.contract_hash = name, contract, contract.hash
        self.device, self.dtype = "cuda" if torch.cuda.is_available() else "cpu", DTYPES[section.dtype]
        self.model = model.to(self.device, self.dtype).eval().requires_grad_(False)
        for part in self.model.modules():
            if isinstance(part, RmsNorm):
                part.float()  # scales near 1 need more digits than bfloat16 has
        self.checkpoint, self.section, self.tokenizer = checkpoint, section, tokenizer
        self.low, self.high, self.scaled = checkpoint.bounds(section.data, section.bounds, "action")
        self.views = [contract.view_names.index(view) for view in section.views or contract.view_names]
        self.columns = [contract.state_names.index(column) for column in section.state or contract.state_names]
        self.turning = _turning(contract) if section.rotation == "rpy" else []
        self.units = units(contract, section.scale, section.offset)
        # OFT adds a little to every range.
        self.eps = 1e-8 if section.chunk else 0.0

    @classmethod
    def load(cls, preset: Preset, contract: Contract, weights: Path | None) -> OpenVlaPolicy:
        """Load the folder that the preset's `weights` names.

        Raises:
            WeightsError: a file is missing, corrupt, or of another network.
            PolicyError: the checkpoint doesn't fit the contract, or needs something that isn't served here.
            ConfigError: the preset is broken.
        """
        section = parse(OpenVlaSection, preset.model, f"{preset.name}.yaml: model")
        for what, name, known in (("dtype", section.dtype, tuple(DTYPES)), ("rotation", section.rotation, ROTATIONS)):
            if name not in known:
                raise UnknownNameError(what, name, known)
        folder = preset.weights_path() if weights is None else weights
        checkpoint = read_openvla(folder, section.data, section.chunk)
        _check(checkpoint, contract, section)
        with torch.device("meta"):
            model = OpenVla(checkpoint.sizes)
        fill(model, {key: tensor.float() for key, tensor in checkpoint.tensors.items()}, folder.name, assign=True)
        return cls(preset.name, contract, checkpoint, section, model, Tokens(folder))

    @torch.no_grad()
    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """See Policy; nothing is drawn by lot, so the seed has no influence."""
        check_observation(observation, self.contract)
        images = [part.to(self.device) for part in self._images(observation.rgb)]
        tokens = torch.tensor([self.tokens(observation.instruction)], device=self.device)
        state = self._state(observation)
        mixed = torch.autocast(self.device, self.dtype) if self.dtype != torch.float32 else nullcontext()
        with mixed:
            drawn = self.model.act(images, tokens, state)[0].float().cpu()
        actions = torch.where(self.scaled, 0.5 * (drawn + 1) * (self.high - self.low + self.eps) + self.low, drawn)
        actions = actions[: self.contract.horizon]
        if not bool(torch.isfinite(actions).all()):
            raise PolicyError("a chunk with NaN or infinity", "finite actions", "check the checkpoint's files")
        return PolicyOutput(self._turned(self.units.forward(actions.numpy())), progress=0.0, success_estimate=0.0)

    def tokens(self, instruction: str) -> list[int]:
        """The prompt of training, begin token first."""
        prompt = f"In: What action should the robot take to {instruction.lower()}?\nOut:"
        tokens = self.tokenizer(prompt)
        return tokens if tokens[-1] == EMPTY else [*tokens, EMPTY]

    def _images(self, rgb: UInt8) -> list[Tensor]:
        """(V,H,W,3) to (1,V',3,edge,edge) per encoder."""
        whole = torch.from_numpy(np.ascontiguousarray(rgb[self.views])).permute(0, 3, 1, 2)
        if self.section.crop:
            whole = cropped(whole)
        out = []
        for edge, mean, std in zip(
            self.checkpoint.sizes.images, self.checkpoint.means, self.checkpoint.stds, strict=True
        ):
            colour, spread = (torch.tensor(values)[:, None, None] for values in (mean, std))
            view = whole
            if self.checkpoint.resizing == "letterbox":
                view = squared(view, mean)
            if view.shape[-2:] != (edge, edge):
                view = F.interpolate(view, (edge, edge), mode="bicubic", antialias=True)
            out.append(((view.float() / 255.0 - colour) / spread)[None])
        return out

    def _state(self, observation: Observation) -> Tensor | None:
        if not self.checkpoint.sizes.state:
            return None
        low, high, scaled = self.checkpoint.bounds(self.section.data, self.section.bounds, "proprio")
        x = torch.from_numpy(observation.state[self.columns])
        normal = torch.where(scaled, 2 * (x - low) / (high - low + 1e-8) - 1, x).clamp(-1.0, 1.0)
        return normal[None].to(self.device)

    def _turned(self, actions: Float32) -> Float32:
        """With roll, pitch and yaw as a rotation vector where the contract has one."""
        out = np.array(actions, np.float32)
        for columns in self.turning:
            roll, pitch, yaw = (actions[:, column, None].astype(np.float64) for column in columns)
            about_x, about_y, about_z = (
                rotations.from_rotvec(a * np.eye(3)[i]) for i, a in enumerate((roll, pitch, yaw))
            )
            out[:, columns] = rotations.to_rotvec(rotations.multiply(about_z, rotations.multiply(about_y, about_x)))
        return out


def cropped(images: Tensor) -> Tensor:
    """The middle with CROPPED of the area, at the old size; uint8 (V,3,H,W). As TensorFlow's crop_and_resize."""
    height, width = images.shape[-2:]
    side = CROPPED**0.5
    rows, columns = (torch.linspace(-side, side, count) for count in (height, width))
    grid = torch.stack([columns[None].expand(height, -1), rows[:, None].expand(-1, width)], -1)
    grid = grid[None].expand(len(images), -1, -1, -1)
    sampled = F.grid_sample(images.float() / 255.0, grid, mode="bilinear", align_corners=True)
    return (sampled.clamp(0.0, 1.0) * 255.5).to(torch.uint8)


def squared(images: Tensor, mean: tuple[float, ...]) -> Tensor:
    """uint8 (V,3,H,W) in the middle of a square of the mean colour."""
    height, width = images.shape[-2:]
    edge = max(height, width)
    above, left = int((edge - height) / 2), int((edge - width) / 2)
    colour = torch.tensor([int(255 * part) for part in mean], dtype=torch.uint8)
    out = colour[None, :, None, None].repeat(len(images), 1, height + 2 * above, width + 2 * left)
    out[..., above : above + height, left : left + width] = images
    return out


def _turning(contract: Contract) -> list[list[int]]:
    """Columns of every rotation vector of a tool_delta."""
    parts = [part for part in contract.action_parts if part.space == "tool_delta"]
    return [[part.columns[part.names.index(name)] for name in ("rx", "ry", "rz")] for part in parts]


def _check(checkpoint: OpenVlaCheckpoint, contract: Contract, section: OpenVlaSection) -> None:
    """Refuse a contract that the checkpoint doesn't fit.

    Raises:
        PolicyError, ConfigError: says what doesn't fit.
    """
    name, sizes = checkpoint.name, checkpoint.sizes
    if len(contract.action_names) != sizes.actions or contract.horizon > max(1, section.chunk):
        got = f"contract {contract.name} with {contract.horizon} steps of {len(contract.action_names)} numbers"
        expected = f"at most {max(1, section.chunk)} steps of {sizes.actions}, as {name} draws"
        raise PolicyError(got, expected, "choose another contract, or the right `model: data` and `chunk`")
    unknown = [view for view in section.views if view not in contract.view_names]
    unknown += [column for column in section.state if column not in contract.state_names]
    if unknown:
        raise ConfigError(f"{unknown} in the preset", f"names of contract {contract.name}", "mend `views` and `state`")
    if sizes.state and sizes.state != len(section.state or contract.state_names):
        got = f"a state of {len(section.state or contract.state_names)} numbers"
        raise PolicyError(got, f"the {sizes.state} that {name} is told", "list the columns in `model: state`")
    if not section.chunk and len(section.views or contract.view_names) > 1:
        got = f"views {list(section.views or contract.view_names)}"
        raise PolicyError(got, f"the one that {name} looks at", "list it in `model: views`")
    if checkpoint.resizing not in RESIZING:
        raise UnknownNameError("image resizing", checkpoint.resizing, RESIZING)
