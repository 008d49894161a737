"""Image augmentation that knows what it did: labels move along, geometry can be undone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shift_images(rgb: Tensor, limit_px: int) -> tuple[Tensor, Tensor]:
    """Move every image by a random whole number of pixels; edges repeat.

    Args:
        rgb: uint8 (B,V,H,W,3), square.
        limit_px: Largest shift along each axis.

    Returns:
        The moved images, and the shift (B,V,2) in image coordinates (-1..1 spans the image), x right, y down.
    """
    batch, views, height, width = rgb.shape[:4]
    shift = torch.randint(-limit_px, limit_px + 1, (batch, views, 2), device=rgb.device)
    images = torch.arange(batch * views, device=rgb.device).view(batch, views, 1)
    rows = (torch.arange(height, device=rgb.device) - shift[..., 1:]).clamp(0, height - 1)
    columns = (torch.arange(width, device=rgb.device) - shift[..., :1]).clamp(0, width - 1)
    lines = rgb.reshape(-1, width * 3).index_select(0, (images * height + rows).flatten())
    pixels = torch.arange(batch * views * height, device=rgb.device).view(batch, views, height, 1) * width
    moved = lines.view(-1, 3).index_select(0, (pixels + columns[:, :, None]).flatten())
    return moved.view_as(rgb), shift * (2.0 / width)


def jitter_colour(rgb: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and channel gains of every image change by up to `strength`; float32 (B,V,H,W,3) out.

    Channels change a third as much: colours are names here, one must not turn into another.
    """

    def factor(channels: int, limit: float) -> Tensor:
        return 1.0 + limit * (2.0 * torch.rand(*rgb.shape[:2], 1, 1, channels, device=rgb.device) - 1.0)

    brightness, contrast, channel = factor(1, strength), factor(1, strength), factor(3, strength / 3)
    mean = rgb[:, :, ::4, ::4].float().mean((2, 3, 4), keepdim=True)  # a sixteenth of the pixels will do
    gain = brightness * contrast * channel
    return torch.addcmul(mean * brightness * (1.0 - contrast) * channel, rgb.float(), gain).clamp_(0, 255)


def blur_some(rgb: Tensor, probability: float) -> Tensor:
    """Blur whole frames with a 3x3 binomial kernel, each with the given probability; float32 (B,V,H,W,3)."""
    chosen = torch.rand(len(rgb), device=rgb.device) < probability
    if not bool(chosen.any()):
        return rgb
    x = rgb[chosen].permute(0, 1, 4, 2, 3)
    kernel = torch.tensor([1.0, 2.0, 1.0], device=rgb.device) / 4
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.conv2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), (kernel[:, None] * kernel)[None, None])
    out = rgb.clone()
    out[chosen] = flat.reshape(x.shape).permute(0, 1, 3, 4, 2)
    return out


def augment(rgb: Tensor, shift_px: int, colour: float, blur_probability: float) -> tuple[Tensor, Tensor]:
    """All of it: uint8 (B,V,H,W,3) to float32 images 0..255 and the shift (B,V,2)."""
    rgb, shift = shift_images(rgb, shift_px)
    return blur_some(jitter_colour(rgb, colour), blur_probability), shift


def move_labels(uv: Tensor, visible: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (B,V,R,2) after the shift, and which are still visible (B,V,R) inside the image."""
    moved = uv + shift[:, :, None]
    return moved, visible.bool() & (moved.abs() <= 1.0).all(-1)
