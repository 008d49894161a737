"""A pi0 of any size with random weights, timed on a GPU: eager, compiled, replayed, and with the simplified graph.

Needs torch and transformers, no ROS:

    PYTHONPATH=src/vla_core:src/vla_policy:src/vla_bringup python -m vla_bringup.bench.pi0_size --out rows.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_bringup.statistics import rounded, spread
from vla_policy.core import flow
from vla_policy.core.blocks.action_expert import ActionExpert, ActionExpertConfig
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.folded import FoldedExpert
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.static_graph import COMPILED, COMPILED_CUDA_GRAPH, CUDA_GRAPH, EAGER, Static, static
from vla_policy.core.systems.sizes import Sizes

#: Of what is timed: is its graph simplified, and how is it run.
WAYS = {
    "eager": (False, EAGER),
    "torch.compile": (False, COMPILED),
    "CUDA graph": (False, CUDA_GRAPH),
    "simplified, eager": (True, EAGER),
    "simplified, CUDA graph": (True, CUDA_GRAPH),
    "simplified, torch.compile, CUDA graph": (True, COMPILED_CUDA_GRAPH),
}
WARM_UP = 5
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pi0Size:
    """Sizes of what is timed.

    Attributes:
        backbone: Of the language model. expert: Of the action expert.
        vision: Arguments of transformers' SiglipVisionConfig; empty: none, all of the prefix is `words`.
        views: Images. words: Tokens of the prompt.
        horizon, action, state: Of a chunk, an action, the state. steps: Euler steps.
    """

    backbone: DecoderConfig
    expert: ActionExpertConfig
    vision: dict[str, Any]
    views: int
    words: int
    horizon: int
    action: int
    state: int
    steps: int = 10


_SO400M = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
SIZES = {
    # PaliGemma's Gemma-2B and SigLIP, a 300 M expert, as in openpi; prompt and chunk as Realtime-VLA times them.
    "pi0, paper's size, 2 views": Pi0Size(
        DecoderConfig(2048, 18, 8, 1, 256, 16384), ActionExpertConfig(1024, 4096), _SO400M, 2, 20, 50, 32, 32
    ),
    "pi0, paper's size, 1 view": Pi0Size(
        DecoderConfig(2048, 18, 8, 1, 256, 16384), ActionExpertConfig(1024, 4096), _SO400M, 1, 20, 50, 32, 32
    ),
    # The preset without its eyes.
    "pi0, preset's size": Pi0Size(
        DecoderConfig(128, 4, 4, 2, 32, 384), ActionExpertConfig(96, 256), {}, 0, 71, 20, 7, 17
    ),
}


class SizedPi0(nn.Module):
    """Images, prompt, state and noise to a chunk."""

    def __init__(self, size: Pi0Size) -> None:
        super().__init__()
        self.size = size
        width, per_view = size.backbone.width, 0
        if size.vision:
            from transformers import SiglipVisionConfig, SiglipVisionModel

            config = SiglipVisionConfig(**size.vision)
            self.vision: nn.Module = SiglipVisionModel(config)
            self.project = nn.Linear(config.hidden_size, width)
            per_view = (size.vision["image_size"] // size.vision["patch_size"]) ** 2
        self.prefix = size.views * per_view + size.words
        self.backbone = Decoder(size.backbone)
        sizes = Sizes(size.horizon, size.action, size.state, max(1, size.views), 1, 1, 1, 1, 1)
        self.expert = ActionExpert(size.expert, size.backbone, sizes)

    def inputs(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Pixels (1,V,3,H,W), embedded words (1,L,C), state (1,S), noise (1,T,D): random."""
        size = self.size
        edge = size.vision.get("image_size", 1)
        shapes = ((1, size.views, 3, edge, edge), (1, size.words, size.backbone.width), (1, size.state),
                  (1, size.horizon, size.action))  # fmt: skip
        return tuple(torch.randn(shape, device=device, dtype=dtype) for shape in shapes)

    def see(self, pixels: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (1,N,C) of the prefix, all valid (1,N)."""
        tokens = words
        if self.size.vision:
            seen = self.vision(pixel_values=pixels.flatten(0, 1)).last_hidden_state
            tokens = torch.cat([self.project(seen).reshape(1, -1, words.shape[2]), words], 1)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def forward(self, pixels: Tensor, words: Tensor, state: Tensor, noise: Tensor) -> Tensor:
        """The chunk (1,T,D), as pi0 draws it."""
        tokens, valid = self.see(pixels, words)
        positions = torch.arange(self.prefix, device=tokens.device)[None]
        hidden, cache = self.backbone(tokens, positions, valid[:, None, None])
        read = Read(hidden, valid, cache)
        return flow.integrate(lambda x, t: self.expert.velocity(x, t, state, read), noise, self.size.steps)


class SimplifiedPi0(nn.Module):
    """The same by fewer operations."""

    def __init__(self, plain: SizedPi0) -> None:
        super().__init__()
        self.see = plain.see
        self.expert = FoldedExpert(plain.backbone, plain.expert, plain.size.steps, plain.prefix)
        self.first: Tensor
        self.register_buffer("first", torch.tensor([plain.prefix], device=plain.expert.mix.weight.device))

    def forward(self, pixels: Tensor, words: Tensor, state: Tensor, noise: Tensor) -> Tensor:
        """The chunk (1,T,D)."""
        tokens, valid = self.see(pixels, words)
        chunk: Tensor = self.expert(tokens, valid, state, self.first, noise)
        return chunk


def measure(
    sizes: dict[str, Pi0Size], ways: Sequence[str], chunks: int, device: torch.device, dtype: torch.dtype,
    say: Callable[[str], None],
) -> list[Row]:  # fmt: skip
    """One row per size and way.

    Args:
        sizes: By name, such as SIZES.
        ways: Of WAYS.
        chunks: Timed, after a few that aren't.
        device: Where.
        dtype: Of weights and inputs.
        say: Takes progress lines.
    """
    rows = []
    for name, size in sizes.items():
        torch.manual_seed(0)
        with torch.device(device):
            net = SizedPi0(size)
        net = net.to(dtype).eval().requires_grad_(False)
        inputs = net.inputs(device, dtype)
        count = sum(p.numel() for p in net.parameters())
        networks: dict[bool, nn.Module] = {False: net, True: SimplifiedPi0(net)}
        for way in ways:
            simplified, kind = WAYS[way]
            say(f"{name}: {way}")
            times = _times_ms(static(networks[simplified], inputs, kind), inputs, chunks)
            rows.append(
                {
                    "policy": name,
                    "device": _name(device),
                    "way": way,
                    "weights": f"random, {str(dtype).removeprefix('torch.')}",
                    "eyes": None,
                    "parameters_m": rounded(count / 1e6),
                    "passes": size.steps,
                    "unit": "ms",
                    **spread(times),
                }
            )
        del net, networks, inputs
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def _times_ms(run: Static, inputs: tuple[Tensor, ...], chunks: int) -> list[float]:
    def wait() -> None:
        if inputs[0].is_cuda:
            torch.cuda.synchronize()

    times = []
    for i in range(WARM_UP + chunks):
        wait()
        begin = time.perf_counter_ns()
        run(inputs)
        wait()
        if i >= WARM_UP:
            times.append(1e-6 * (time.perf_counter_ns() - begin))
    return times


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main() -> int:
    """Time everything on the GPU at hand and write rows for `vla bench policy --add`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file for the rows, JSON")
    parser.add_argument("--chunks", type=int, default=200, help="per row (default 200)")
    args = parser.parse_args()
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)

    rows = measure(SIZES, list(WAYS), args.chunks, torch.device("cuda"), torch.bfloat16, say)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
