"""A world of three coloured things, to try systems in seconds: sights by hand, chunks that lead to what is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import Labels, Questions, System

NAMES = ("red cube", "green cube", "blue bowl")
SIZES = Sizes(
    horizon=8, action_width=7, state=6, views=2, names=len(NAMES), features=8, generic=2, text=16, sentence=12
)
#: Of the two-mode world [0.1 m] by step: none at the first step, most half-way, none at the last two.
DETOUR = torch.sin(torch.pi * torch.arange(SIZES.horizon).clamp(max=SIZES.horizon - 2) / (SIZES.horizon - 2))
#: Rows, seed, history.
Batch = Callable[[int, int, int], tuple[Sight, Labels]]
_TEXTS = (*(f"reach the {name}" for name in NAMES), "yes no", *NAMES)


def toy_batch(rows: int, seed: int = 0, history: int = 1) -> tuple[Sight, Labels]:
    """Instructions name one of three things; the chunk leads there at constant speed, the last column says which half.

    `known` is False for the last step of every second row. Of `history` successive rows only the tool has moved.
    """
    rng = torch.Generator().manual_seed(seed)
    sizes, k = SIZES, len(NAMES)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    named = torch.randint(k, (rows,), generator=rng)
    words = torch.randn(k, 3, sizes.text, generator=torch.Generator().manual_seed(1))
    sentences = torch.randn(k, sizes.sentence, generator=torch.Generator().manual_seed(2))
    xyz = torch.tensor([0.5, 0.0, 0.1]) + 0.1 * noise(rows, k, 3)
    tool = torch.tensor([0.5, 0.0, 0.2]) + 0.02 * noise(rows, 3)
    newest = torch.arange(rows) // history * history + history - 1
    named, xyz = named[newest], xyz[newest]
    uv = torch.stack([xyz[..., 1] * 4, (0.5 - xyz[..., 0]) * 4], -1)[:, None].expand(-1, sizes.views, -1, -1)
    sight = Sight(
        pooled=queries()[None, None].expand(rows, sizes.views, -1, -1)
        + 0.1 * noise(rows, sizes.views, k, sizes.features),
        uv=uv,
        presence=torch.ones(rows, sizes.views, k),
        xyz=xyz,
        generic=0.1 * noise(rows, sizes.views, sizes.generic, sizes.features + 2),
        text=words[named],
        text_mask=torch.ones(rows, 3, dtype=torch.bool),
        sentence=sentences[named],
        state=torch.cat([tool, torch.zeros(rows, 3)], 1),
        tool=tool,
        fine=0.1 * noise(rows, sizes.views, sizes.features, 8, 8),
    )
    way = (xyz[torch.arange(rows), named] - tool) / 0.1
    ramp = torch.linspace(0, 1, sizes.horizon)[None, :, None]
    gripper = torch.where(ramp > 0.5, -1.0, 1.0).expand(rows, -1, -1)
    chunk = torch.cat([ramp * way[:, None], torch.zeros(rows, sizes.horizon, 3), gripper], -1)
    known = torch.ones(rows, sizes.horizon, dtype=torch.bool)
    known[::2, -1] = False
    subtask = tuple(f"reach the {NAMES[i]}" for i in named)
    questions = Questions(sight, tuple(NAMES[i] for i in named))
    return sight, Labels(chunk, known, subtask, questions)


def two_mode_batch(rows: int, seed: int = 0, history: int = 1) -> tuple[Sight, Labels]:
    """The same, but every chunk makes a detour of 10 cm to one side (y) or the other, and nothing tells which."""
    sight, labels = toy_batch(rows, seed, history)
    side = torch.randint(2, (rows, 1), generator=torch.Generator().manual_seed(seed + 10_000)) * 2.0 - 1.0
    chunk = labels.chunk.clone()
    chunk[..., 1] += side * DETOUR
    return sight, replace(labels, chunk=chunk)


def queries() -> torch.Tensor:
    """What the things look like (K,C)."""
    return torch.randn(len(NAMES), SIZES.features, generator=torch.Generator().manual_seed(3))


def fitted(system: System, batch: Batch = toy_batch) -> System:
    """The system with the statistics, names and words of the toy world."""
    _, labels = batch(256, 9, 1)
    system.fit(Fitting(labels.chunk, queries(), _TEXTS))
    return system


def learn(
    system: System, steps: int, rows: int = 32, stage: str = "system", rate: float = 3e-3, batch: Batch = toy_batch,
    weights: Mapping[str, float] | None = None,
) -> list[float]:  # fmt: skip
    """Train on fresh toy batches; the sum of the losses of every step, each with its weight, 1 where none is given."""
    system.enter(stage)
    parameters = [p for p in system.stages()[stage] if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    history = []
    for step in range(steps):
        sight, labels = batch(rows * system.history, 100 + step, system.history)
        labels = Labels(system.normalised(labels.chunk), labels.known, labels.subtask, labels.questions)
        losses = system.losses(sight, labels)
        total = torch.stack([(weights or {}).get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        history.append(float(total.detach()))
    return history


@torch.no_grad()
def miss_cm(system: System, rows: int = 64, batch: Batch = toy_batch) -> float:
    """Median distance [cm] between where drawn chunks end and the thing that was named; 10 cm away at the start."""
    sight, labels = batch(rows * system.history, 7, system.history)
    noise = torch.randn(rows, *labels.chunk.shape[1:], generator=torch.Generator().manual_seed(5))
    chunk = system.physical(system.draw(sight, noise).chunk)
    wanted = labels.chunk[system.history - 1 :: system.history]
    return float((10.0 * (chunk - wanted)[:, -2, :3].norm(dim=-1)).median())


@torch.no_grad()
def detours(system: System, rows: int = 64) -> torch.Tensor:
    """Of drawn chunks half-way, -1 and 1 being those of the two-mode world, 0 the straight way (rows,)."""
    sight, labels = toy_batch(rows * system.history, 7, system.history)
    noise = torch.randn(rows, *labels.chunk.shape[1:], generator=torch.Generator().manual_seed(6))
    chunk = system.physical(system.draw(sight, noise).chunk)
    straight = labels.chunk[system.history - 1 :: system.history]
    return ((chunk - straight)[..., 1] @ DETOUR) / DETOUR.square().sum()


def left_or_right(rows: int, seed: int = 0, history: int = 1) -> tuple[Sight, Labels]:
    """As toy_batch, with every thing 15 cm to the left or to the right: for what learns slowly, such as tokens."""
    sight, labels = toy_batch(rows, seed, history)
    named = torch.tensor([NAMES.index(said.removeprefix("reach the ")) for said in labels.subtask])
    side = torch.sign(sight.xyz[..., 1:2])
    xyz = torch.tensor([0.5, 0.0, 0.1]) + 0.15 * side * torch.tensor([0.0, 1.0, 0.0])
    tool = torch.tensor([[0.5, 0.0, 0.2]]).expand(rows, -1)
    uv = (0.6 * side * torch.tensor([1.0, 0.0]))[:, None].expand(-1, SIZES.views, -1, -1)
    seen = sight._replace(xyz=xyz, uv=uv, tool=tool, state=torch.cat([tool, torch.zeros(rows, 3)], 1))
    way = (xyz[torch.arange(rows), named] - tool) / 0.1
    position = torch.linspace(0, 1, SIZES.horizon)[None, :, None] * way[:, None]
    chunk = torch.cat([position, labels.chunk[..., 3:]], -1)
    assert labels.questions is not None
    asked = Questions(seen._replace(text=-seen.text), labels.questions.answers)  # in other words than it is told
    return seen, Labels(chunk, labels.known, labels.subtask, asked)
