"""`vla bench claims`: what the literature says of action heads, looked at here instead of copied.

- Two modes: in a toy world every chunk makes a detour to the left or to the right, and nothing tells which. Where do
  drawn chunks go: into one of the two, or between them, where no demonstration ever was?
- Sequence length: tokens that FAST (Pertsch et al. 2025) needs for a chunk of the demonstrations, against one bin per
  value, and what either loses.
- Passes: how often the part that repeats runs for one chunk, in the same systems.
- Knowledge: the share of questions about unseen scenes that a backbone answers rightly, before it learnt to act and
  after, with and without knowledge insulation (Driess et al. 2025). Of those whose weights are there.

Every system of the first and third is that of its preset, with a smaller decoder, and learns as many steps. Runs
without ROS.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_bringup.statistics import rounded
from vla_core.contract import load_contract
from vla_core.files import workspace_root
from vla_policy.core.blocks.answers import answers
from vla_policy.core.preset import load_preset
from vla_policy.core.system_policy import SystemPolicy
from vla_policy.core.systems.catalogue import make_system
from vla_policy.core.systems.system import System
from vla_policy.core.tokenizers.bins import Bins
from vla_policy.core.tokenizers.fast import FastTokens
from vla_policy.training.dataset import Dataset
from vla_policy.training.scene_texts import Frame, question
from vla_policy.training.sights import SightBank
from vla_policy.training.toy_world import SIZES, detours, fitted, learn, toy_batch, two_mode_batch

CONTRACT = "tabletop_panda"
#: One of each kind of head: words one by one, regression in one pass, CVAE, masked words, DDIM, DiT, flow.
POLICIES = ("rt2", "openvla_oft", "act", "discrete_diffusion_vla", "diffusion_policy", "cogact", "pi0")
#: What the systems with a vision-language model begin with, and what some of them make of it.
BACKBONES = ("small_vlm", "pi0", "knowledge_insulation", "pi05", "rt2", "openvla_oft")
STEPS, ROWS, DRAWN, QUESTIONS = 300, 32, 256, 400
_DECODER = {"width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 16, "hidden": 128}
_BETWEEN = 0.35  # of the detour: nearer to the straight way than that is between
_SEED, _SCALES, _MM = 200_000, (10.0, 20.0), 100.0  # a unit of the network's positions is 0.1 m
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench claims`."""
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of training per system (default {STEPS})")
    parser.add_argument("--episodes", type=int, default=16, help="whose chunks are written in tokens (default 16)")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--steps", str(args.steps), "--episodes", str(args.episodes)]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Rows of `docs/results/claims.json`.

    Raises:
        VlaError: a preset or weights that can't be read.
    """
    from vla_sim.generate import generate

    rows = []
    for name in POLICIES:
        rows += two_modes(name, args.steps)
        say(f"{name}: {100 * rows[-3]['value']:.0f} % between the modes")
    data = args.out / "data"
    generate(data, args.episodes, CONTRACT, seed0=_SEED, workers=2)
    return rows + lengths(data) + knowledge(data)


def two_modes(name: str, steps: int) -> list[Row]:
    """Shares of a system's chunks between the modes and on the rarer side, and its passes per chunk."""
    torch.manual_seed(0)
    preset = load_preset(name)
    system = fitted(make_system(replace(preset, model=_for_the_toy_world(preset.model)), SIZES))
    for step in preset.training["recipe"]:
        weights = preset.training["losses"]
        learn(system, steps, ROWS // system.history, step["train"], 2e-3, two_mode_batch, weights)
    system.eval()
    off = detours(system, DRAWN)
    between, left = float((off.abs() < _BETWEEN).float().mean()), float((off < 0).float().mean())
    return [
        row("two modes", name, "share of chunks between the modes", between, DRAWN),
        row("two modes", name, "share of chunks on the rarer side", min(left, 1.0 - left), DRAWN),
        row("passes", name, "passes per chunk", _passes(system), 1),
    ]


def lengths(data: Path) -> list[Row]:
    """Tokens per chunk of demonstrations, and the error of positions that remains."""
    chunks = Dataset(data, load_contract(CONTRACT)).labels["chunk"].astype(np.float64)
    half = len(chunks) // 2
    learnt, fresh = chunks[:half], chunks[half:]
    bins = Bins.fit(learnt.reshape(-1, chunks.shape[-1]), "quantile")
    back = bins.decode(bins.encode(torch.from_numpy(fresh))).numpy()
    rows = _tokens("bins", np.full(len(fresh), fresh[0].size), back - fresh)
    for scale in _SCALES:
        fast = FastTokens.fit(learnt, scale)
        written = [fast.encode(chunk) for chunk in fresh]
        back = np.stack([fast.decode(tokens) for tokens in written])
        rows += _tokens(f"FAST, scale {scale:g}", np.array([len(tokens) for tokens in written]), back - fresh)
    return rows


def knowledge(data: Path) -> list[Row]:
    """Right answers of every backbone whose weights are there."""
    contract, rows = load_contract(CONTRACT), []
    dataset, rng, tool = Dataset(data, contract), np.random.default_rng(0), contract.state_slice("tool_pose")
    chosen = rng.choice(len(dataset), QUESTIONS)
    frames = [Frame.of(dataset.labels, int(i), dataset.object_names, dataset.families, tool) for i in chosen]
    for name in BACKBONES:
        preset = load_preset(name)
        if not (workspace_root() / "src" / preset.weights).is_file():
            continue
        policy = SystemPolicy.load(preset, contract, None)
        eyes, system = policy.eyes, policy.system
        ask = np.random.default_rng(0)
        pairs = [question(frame, eyes.names, ask) for frame in frames]
        bank = SightBank(
            eyes, dataset, sorted({asked for asked, _ in pairs}), data / "sights", preset.training["augmentation"],
            system.wanted(), torch.device("cpu"),
        )  # fmt: skip
        backbone: Any = system.backbone
        said = answers(backbone, bank.sight(chosen, np.array([bank.place[asked] for asked, _ in pairs])))
        right = [heard == wanted for heard, (_, wanted) in zip(said, pairs, strict=True)]
        rows.append(row("knowledge", name, "share of right answers", float(np.mean(right)), len(right)))
    return rows


def row(claim: str, subject: str, measured: str, value: float, count: int) -> Row:
    """One line of the table."""
    return {"claim": claim, "of": subject, "measure": measured, "value": rounded(value), "n": count}


def _tokens(name: str, counts: np.ndarray, error: np.ndarray) -> list[Row]:
    millimetres = _MM * np.linalg.norm(error[..., :3], axis=-1)
    return [
        row("sequence length", name, "tokens per chunk, p50", float(np.median(counts)), len(counts)),
        row("sequence length", name, "tokens per chunk, p95", float(np.quantile(counts, 0.95)), len(counts)),
        row("sequence length", name, "position lost [mm], p95", float(np.quantile(millimetres, 0.95)), len(counts)),
    ]


@torch.no_grad()
def _passes(system: System) -> int:
    sight, _ = toy_batch(system.history)
    return system.draw(sight, torch.randn(1, SIZES.horizon, SIZES.action_width)).passes


def _for_the_toy_world(section: dict[str, Any]) -> dict[str, Any]:
    """A preset's section with a small decoder, no weights to start from, and a knot at every step."""
    changed: dict[str, Any] = {"decoder": _DECODER, "knots": tuple(range(SIZES.horizon)), "start": ""}
    return {
        key: changed[key] if key in changed else _for_the_toy_world(value) if isinstance(value, dict) else value
        for key, value in section.items()
    }
