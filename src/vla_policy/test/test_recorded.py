"""Static systems answer by a recorded graph as they answer without it, whatever is seen, said or drawn by lot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import test_system_act
import test_system_cogact
import test_system_dexvla
import test_system_diffusion_policy
import test_system_discrete_diffusion_vla
import test_system_evo1
import test_system_knowledge_insulation
import test_system_octo
import test_system_openvla_oft
import test_system_pi0
import test_system_pi05
import test_system_realtime_vla
import test_system_rt1
import test_system_rt2
import test_system_tinyvla
import torch
from torch import Tensor

from vla_core.errors import PolicyError
from vla_policy.core.recorded import Recorded
from vla_policy.core.sight import Sight
from vla_policy.core.systems.system import Drawn, System
from vla_policy.training.toy_world import SIZES, toy_batch

WORDS = 6
#: Largest difference of normalised actions, which are about 1. Where a bin is chosen, it is the same bin.
TOLERANCE = 5e-5


def dexvla_that_speaks() -> System:
    system = test_system_dexvla.make()
    system.enter("adapt")
    return system


STATIC: dict[str, Callable[[], System]] = {
    "act": test_system_act.make,
    "cogact": test_system_cogact.make,
    "cogact, adaLN": lambda: test_system_cogact.make(conditioning="adaln_zero"),
    "dexvla, expert": test_system_dexvla.make,
    "dexvla, adapt": dexvla_that_speaks,
    "diffusion_policy": test_system_diffusion_policy.make,
    "discrete_diffusion_vla": test_system_discrete_diffusion_vla.make,
    "evo1": test_system_evo1.make,
    "knowledge_insulation": test_system_knowledge_insulation.make,
    "octo": test_system_octo.make,
    "octo, l1": lambda: test_system_octo.make(heads={"fine": {"kind": "l1"}}, head="fine"),
    "openvla_oft": test_system_openvla_oft.make,
    "oft_plus": lambda: test_system_openvla_oft.make(film=True),
    "pi0": test_system_pi0.make,
    "pi05": test_system_pi05.make,
    "realtime_vla": lambda: test_system_realtime_vla.twins()[1],
    "rt1": test_system_rt1.make,
    "tinyvla": test_system_tinyvla.make,
}
BINS = ("rt1", "discrete_diffusion_vla")  # by small weights the same ones everywhere


def made(name: str) -> System:
    """With weights that say something, nothing at zero; and few steps, so that it is soon recorded."""
    system = STATIC[name]()
    for options in ("config", "sampling", "denoising"):
        section: Any = getattr(system, options, None)
        for steps in {"steps", "rounds"} & {field.name for field in fields(section)} if section else ():
            setattr(system, options, replace(section, **{steps: 2}))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_((0.4 if name in BINS else 0.05) * torch.randn(parameter.shape))
    return system.eval().requires_grad_(False)


def row(system: System, seed: int, words: int) -> tuple[Sight, Tensor]:
    """One observation with its past, an instruction of so many words, and noise."""
    sight, _ = toy_batch(system.history, seed, system.history)
    rng = torch.Generator().manual_seed(seed)
    text = torch.randn(1, words, SIZES.text, generator=rng).repeat(system.history, 1, 1)
    sentence = torch.randn(1, SIZES.sentence, generator=rng).repeat(system.history, 1)
    noise = torch.randn(1, SIZES.horizon, SIZES.action_width, generator=rng)
    mask = torch.ones(system.history, words, dtype=torch.bool)
    return sight._replace(text=text, text_mask=mask, sentence=sentence), noise


@torch.no_grad()
@pytest.mark.parametrize("name", STATIC)
def test_the_same_chunk_as_without_a_graph(name: str) -> None:
    """One graph, recorded on one observation, answers others, with instructions of every length."""
    system = made(name)
    assert system.recordable
    recorded, chunks = Recorded(system, WORDS), []
    for seed, words in ((0, 3), (1, 1), (2, WORDS), (3, 2)):
        sight, noise = row(system, seed, words)
        expected, found = system.draw(sight, noise), recorded.draw(sight, noise)
        torch.testing.assert_close(found.chunk, expected.chunk, atol=TOLERANCE, rtol=1e-4)
        assert (found.passes, found.text) == (expected.passes, expected.text)
        chunks.append(found.chunk)
    assert all(float((chunk - chunks[0]).abs().max()) > 100 * TOLERANCE for chunk in chunks[1:])


@torch.no_grad()
@pytest.mark.parametrize("name", ["octo", "dexvla, adapt", "evo1"])
def test_other_noise_gives_the_other_chunk(name: str) -> None:
    """Nothing that was drawn by lot while recording stays in the graph."""
    system = made(name)
    recorded = Recorded(system, WORDS)
    sight, first = row(system, 0, 3)
    for noise in (first, -first, first + 1.0):
        expected = system.draw(sight, noise).chunk
        torch.testing.assert_close(recorded.draw(sight, noise).chunk, expected, atol=TOLERANCE, rtol=1e-4)
        assert torch.equal(noise, first) or not torch.allclose(expected, system.draw(sight, first).chunk, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("name", ["act", "dexvla, expert", "realtime_vla"])
def test_new_weights_are_recorded_anew(name: str) -> None:
    system = made(name)
    recorded = Recorded(system, WORDS)
    sight, noise = row(system, 0, 3)
    before = recorded.draw(sight, noise).chunk
    system.train()
    for parameter in system.parameters():
        parameter.add_(0.05)
    expected = system.eval().draw(sight, noise).chunk
    torch.testing.assert_close(recorded.draw(sight, noise).chunk, expected, atol=TOLERANCE, rtol=1e-4)
    assert float((expected - before).abs().max()) > 1e-2


@torch.no_grad()
def test_it_is_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first draw, which is the warm-up, and not in the middle of a run."""
    system = made("act")
    recorded, traced, draw = Recorded(system, WORDS), [], system.draw
    monkeypatch.setattr(system, "draw", lambda sight, noise: traced.append(1) or draw(sight, noise))
    for seed, words in ((0, 1), (1, 5), (2, WORDS)):
        recorded.draw(*row(system, seed, words))
    assert len(traced) == 1


def test_longer_instructions_than_there_are_places_for_are_refused() -> None:
    system = made("pi0")
    with pytest.raises(PolicyError, match="7 tokens; expected at most 6"):
        Recorded(system, WORDS).draw(*row(system, 0, WORDS + 1))


def test_what_is_not_static_is_refused() -> None:
    """Tokens one by one; a subclass that doesn't say that it draws as statically as its base; drawing by lot."""

    class Otherwise(test_system_pi0.Pi0):
        def draw(self, sight: Sight, noise: Tensor) -> Drawn:
            return super().draw(sight, noise if float(noise.sum()) > 0 else -noise)

    lot = test_system_discrete_diffusion_vla.DENOISING | {"temperature": 1.0}
    others = {
        "Rt2": test_system_rt2.make(),
        "Otherwise": Otherwise(test_system_pi0.make().config, SIZES),
        "DiscreteDiffusionVla": test_system_discrete_diffusion_vla.make(denoising=lot),
    }
    for name, system in others.items():
        assert not system.recordable
        with pytest.raises(PolicyError, match=f"a graph of {name}; expected a static system"):
            Recorded(system, WORDS)
    published = test_system_pi0.make()
    published.backbone.static = False  # type: ignore[assignment]
    assert not published.recordable
