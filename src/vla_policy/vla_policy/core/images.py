"""Images to the square size of a vision encoder, with nothing distorted and nothing cut off."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def padded(images: Tensor, height: int, width: int, centred: bool) -> Tensor:
    """Resize (N,3,H,W), 0..1, as far as both edges fit, and fill up with black.

    Args:
        images: See above.
        height, width: Wanted [pixel].
        centred: The image in the middle (openpi), else to the right and below (SmolVLA).
    """
    if images.shape[-2:] == (height, width):
        return images
    ratio = max(images.shape[-1] / width, images.shape[-2] / height)
    size = int(images.shape[-2] / ratio), int(images.shape[-1] / ratio)
    small = F.interpolate(images, size, mode="bilinear", align_corners=False)
    above, left = height - size[0], width - size[1]
    if centred:
        return F.pad(small, (left // 2, left - left // 2, above // 2, above - above // 2))
    return F.pad(small, (left, 0, above, 0))
