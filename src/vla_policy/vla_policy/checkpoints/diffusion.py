"""Diffusion Policy (Chi et al. 2023, CNN variant) in the layout of LeRobot's checkpoints.

ResNet features become keypoints by a spatial softmax; they and the states of the last observations modulate a 1-D
U-Net (`core/blocks/unet1d.py`) that denoises the chunk. The chunk begins with the oldest observation; what is past is
cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import UnknownNameError
from vla_policy.checkpoints.files import pick
from vla_policy.checkpoints.keys import RESNET, KeyRules, all_of
from vla_policy.checkpoints.lerobot_files import ACTION, STATE, LerobotCheckpoint
from vla_policy.checkpoints.model import MODELS, CheckpointModel, Inputs
from vla_policy.core.blocks.resnet import STRIDE, FrozenBatchNorm, ResNet, group_norm
from vla_policy.core.blocks.spatial_softmax import SpatialSoftmax
from vla_policy.core.blocks.unet1d import Unet1d, Unet1dConfig
from vla_policy.core.diffusion import betas
from vla_policy.core.systems.sizes import Sizes

LAST_GROUPS = 8  # LeRobot's last block always has so many, whatever n_groups says
_SAME = {"0.": "conv1.", "1.": "bn1.", "4.": "layer1.", "5.": "layer2.", "6.": "layer3.", "7.": "layer4."}
RULES = all_of(
    KeyRules(
        (
            (r"^diffusion\.", ""),
            (r"^rgb_encoder\.(\d+)\.", r"eyes.\1."),
            (r"^rgb_encoder\.", "eyes.0."),
            *((rf"\.backbone\.{place[0]}\.", f".backbone.{name}") for place, name in _SAME.items()),
        )
    ),
    RESNET,
    KeyRules(
        (
            (r"\.pool\.nets\.", ".pool.maps."),
            (r"\.pool\.pos_grid$", ".pool.grid"),
            (r"^unet\.diffusion_step_encoder\.1\.", "unet.step.0."),
            (r"^unet\.diffusion_step_encoder\.3\.", "unet.step.2."),
            (r"^unet\.(down|up)_modules\.(\d+)\.0\.", r"unet.\1.\2.first."),
            (r"^unet\.(down|up)_modules\.(\d+)\.1\.", r"unet.\1.\2.second."),
            (r"^unet\.(down|up)_modules\.(\d+)\.2\.", r"unet.\1.\2.change."),
            (r"^unet\.mid_modules\.0\.", "unet.middle.first."),
            (r"^unet\.mid_modules\.1\.", "unet.middle.second."),
            (r"^(unet\..*)\.conv1\.block\.0\.", r"\1.first.convolution."),
            (r"^(unet\..*)\.conv1\.block\.1\.", r"\1.first.norm."),
            (r"^(unet\..*)\.conv2\.block\.0\.", r"\1.second.convolution."),
            (r"^(unet\..*)\.conv2\.block\.1\.", r"\1.second.norm."),
            (r"^(unet\..*)\.cond_encoder\.1\.", r"\1.film."),
            (r"^(unet\..*)\.residual_conv\.", r"\1.past."),
            (r"^unet\.final_conv\.0\.block\.0\.", "unet.out.0.convolution."),
            (r"^unet\.final_conv\.0\.block\.1\.", "unet.out.0.norm."),
            (r"^unet\.final_conv\.1\.", "unet.out.1."),
        )
    ),
)

PREDICTIONS, SAMPLERS = ("epsilon", "sample"), ("DDPM", "DDIM")
SCHEDULES = ("squaredcos_cap_v2", "linear", "scaled_linear")


@dataclass(frozen=True, slots=True)
class DiffusionOptions:
    """Those of config.json that the network and its sampler depend on; the optional ones may be null there."""

    n_obs_steps: int
    horizon: int
    vision_backbone: str
    use_group_norm: bool
    spatial_softmax_num_keypoints: int
    use_separate_rgb_encoder_per_camera: bool
    down_dims: tuple[int, ...]
    kernel_size: int
    n_groups: int
    diffusion_step_embed_dim: int
    use_film_scale_modulation: bool
    noise_scheduler_type: str
    num_train_timesteps: int
    beta_schedule: str
    beta_start: float
    beta_end: float
    prediction_type: str
    clip_sample: bool
    clip_sample_range: float
    num_inference_steps: int = 0
    resize_shape: tuple[int, ...] = ()
    crop_shape: tuple[int, ...] = ()

    def check(self) -> DiffusionOptions:
        """Return self.

        Raises:
            UnknownNameError: a prediction, sampler or schedule that isn't known.
        """
        for what, name, known in (
            ("prediction", self.prediction_type, PREDICTIONS),
            ("sampler", self.noise_scheduler_type, SAMPLERS),
            ("noise schedule", self.beta_schedule, SCHEDULES),
        ):
            if name not in known:
                raise UnknownNameError(what, name, known)
        return self

    @property
    def samples(self) -> int:
        """Denoising steps per chunk."""
        return self.num_inference_steps or self.num_train_timesteps

    def alpha_bar(self) -> Tensor:
        """Share of the data's variance left at every time, float64."""
        count = self.num_train_timesteps
        match self.beta_schedule:
            case "squaredcos_cap_v2":
                beta = betas("cosine", count)
            case "linear":
                beta = torch.linspace(self.beta_start, self.beta_end, count, dtype=torch.float64)
            case _:
                beta = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, count, dtype=torch.float64) ** 2
        return torch.cumprod(1 - beta, 0)


class _Eye(nn.Module):
    """An image to the places of keypoints, mixed: resized, its middle cut out, as at LeRobot's inference."""

    def __init__(self, options: DiffusionOptions, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.resize, self.crop = options.resize_shape, options.crop_shape
        height, width = self.crop or self.resize or shape[1:]
        self.backbone = ResNet(options.vision_backbone, group_norm if options.use_group_norm else FrozenBatchNorm)
        points = options.spatial_softmax_num_keypoints
        self.pool = SpatialSoftmax(self.backbone.channels, -(-height // STRIDE), -(-width // STRIDE), points)
        self.out = nn.Linear(2 * points, 2 * points)

    def forward(self, x: Tensor) -> Tensor:
        """(N,3,H,W) to (N,2K)."""
        if self.resize:
            x = F.interpolate(x, self.resize, mode="bilinear", align_corners=False, antialias=True)
        if self.crop:
            top, left = (round((have - want) / 2) for have, want in zip(x.shape[-2:], self.crop, strict=True))
            x = x[..., top : top + self.crop[0], left : left + self.crop[1]]
        return F.relu(self.out(self.pool(self.backbone(x)).flatten(1)))


@MODELS.register("diffusion")
class Diffusion(CheckpointModel):
    """See the module."""

    def __init__(self, options: DiffusionOptions, image: tuple[int, ...], views: int, state: int, actions: int) -> None:
        """Make the network.

        Raises:
            ConfigError: options that don't fit together, see DiffusionOptions.check and Unet1dConfig.check.
        """
        super().__init__()
        self.options, self.history = options.check(), options.n_obs_steps
        self.steps = options.horizon - options.n_obs_steps + 1
        draws = options.samples if options.noise_scheduler_type == "DDPM" else 0  # DDPM adds noise at every step
        self.noise_shape = ((1 + draws) * options.horizon, actions)
        separate = options.use_separate_rgb_encoder_per_camera
        self.eyes = nn.ModuleList(_Eye(options, image) for _ in range(views if separate else 1))
        config = Unet1dConfig(
            options.down_dims, options.kernel_size, options.n_groups, options.diffusion_step_embed_dim
        )
        condition = self.history * (state + views * 2 * options.spatial_softmax_num_keypoints)
        self.unet = Unet1d(config, Sizes(options.horizon, actions, 0, 0, 0, 0, 0, 0, 0), condition)
        self.unet.out[0].norm = nn.GroupNorm(LAST_GROUPS, options.down_dims[0])

    @classmethod
    def of(cls, checkpoint: LerobotCheckpoint) -> Diffusion:
        """The network of a checkpoint, without its weights."""
        options = pick(DiffusionOptions, checkpoint.options, f"{checkpoint.name}/config.json")
        image = checkpoint.inputs[checkpoint.views[0]].shape
        return cls(options, image, len(checkpoint.views), checkpoint.size(STATE), checkpoint.size(ACTION))

    @staticmethod
    def weights(checkpoint: LerobotCheckpoint) -> dict[str, Tensor]:
        """Tensors by our names. FiLM's scale s is our 1 + gamma; the up-going levels stand in the other order."""
        options = pick(DiffusionOptions, checkpoint.options, f"{checkpoint.name}/config.json")
        levels, scaled = len(options.down_dims) - 1, options.use_film_scale_modulation
        out = {}
        for key, tensor in RULES.apply(checkpoint.tensors).items():
            if key.startswith("unet.up."):
                level, _, rest = key.removeprefix("unet.up.").partition(".")
                key = f"unet.up.{levels - 1 - int(level)}.{rest}"
            if ".film." in key:
                shift = tensor.chunk(2)[1] if scaled else tensor
                gamma = tensor.chunk(2)[0] if scaled else torch.zeros_like(tensor)
                tensor = torch.cat([gamma - 1 if scaled and key.endswith("bias") else gamma, shift])
            out[key] = tensor
        return out

    def act(self, inputs: Inputs, noise: Tensor) -> Tensor:
        """See CheckpointModel."""
        batch, seen = len(inputs.state), inputs.images  # (B,N,V,3,H,W)
        if len(self.eyes) == 1:
            features = self.eyes[0](seen.flatten(0, 2)).view(batch, self.history, -1)
        else:
            each = [eye(seen[:, :, i].flatten(0, 1)).view(batch, self.history, -1) for i, eye in enumerate(self.eyes)]
            features = torch.cat(each, -1)
        condition = torch.cat([inputs.state, features], -1).flatten(1)

        def predict(x: Tensor, time: int) -> Tensor:
            out: Tensor = self.unet(x, torch.full((batch,), time, device=x.device), condition)
            return out

        return denoise(self.options, predict, noise)[:, self.history - 1 :]


def denoise(options: DiffusionOptions, predict: Callable[[Tensor, int], Tensor], noise: Tensor) -> Tensor:
    """From noise to a chunk (B,T,D) as LeRobot's schedulers do it.

    Times are `leading` (0, r, 2r, ..., r = T / steps). DDIM keeps the noise as predicted where the sample is clipped
    (Song et al. 2021, eq. 12 with eta = 0); DDPM draws from the posterior (Ho et al. 2020, eq. 6 and 7).

    Args:
        options: Of the process.
        predict: The network: x (B,T,D) and time to noise or sample.
        noise: (B,T,D), for DDPM followed by as much for every step.
    """
    alpha_bar, ratio = options.alpha_bar(), options.num_train_timesteps // options.samples
    x, *more = torch.split(noise, options.horizon, 1)
    times = [i * ratio for i in range(options.samples)][::-1]
    draws: Iterator[Tensor] = iter(more)
    for time in times:
        now = float(alpha_bar[time])
        before = float(alpha_bar[time - ratio]) if time >= ratio else 1.0
        predicted = predict(x, time)
        if options.prediction_type == "epsilon":
            sample, epsilon = (x - (1 - now) ** 0.5 * predicted) / now**0.5, predicted
        else:
            sample, epsilon = predicted, (x - now**0.5 * predicted) / (1 - now) ** 0.5
        if options.clip_sample:
            sample = sample.clamp(-options.clip_sample_range, options.clip_sample_range)
        if options.noise_scheduler_type == "DDIM":
            x = before**0.5 * sample + (1 - before) ** 0.5 * epsilon
            continue
        beta = 1 - now / before
        x = before**0.5 * beta / (1 - now) * sample + (1 - beta) ** 0.5 * (1 - before) / (1 - now) * x
        if time > 0:
            x = x + ((1 - before) / (1 - now) * beta) ** 0.5 * next(draws)
    return x
