"""Realtime-VLA: pi0's answers from a graph of fewer and larger operations, whatever runs it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from test_system_pi0 import BACKBONE, DECODER
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vla_core.errors import PolicyError, UnknownNameError
from vla_policy.core.blocks.action_expert import ActionExpert, ActionExpertConfig
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.folded import FoldedExpert
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.recorded import Recorded
from vla_policy.core.sight import Sight
from vla_policy.core.static_graph import static
from vla_policy.core.systems.pi0 import Pi0, Pi0Config
from vla_policy.core.systems.realtime_vla import RealtimeVla
from vla_policy.training.toy_world import SIZES, fitted, learn, miss_cm, toy_batch

EXPERT = {"width": 24, "hidden": 48}
STEPS = 5


def twins(**decoder: Any) -> tuple[Pi0, RealtimeVla]:
    """The same weights, far from their beginning: norms have scales, biases aren't zero."""
    torch.manual_seed(0)
    backbone = BACKBONE | {"decoder": DECODER | decoder}
    one = fitted(Pi0(Pi0Config(backbone, EXPERT, 2, 4, STEPS), SIZES)).eval()
    other = fitted(RealtimeVla(Pi0Config(backbone, EXPERT, 2, 4, STEPS), SIZES)).eval()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape) * parameter.std().nan_to_num(1.0).clamp(min=0.1))
    other.load_state_dict(one.state_dict())
    assert isinstance(one, Pi0) and isinstance(other, RealtimeVla)
    return one, other


def row(seed: int, words: int = 3) -> tuple[Sight, Tensor]:
    """One observation, with an instruction of so many words, and noise."""
    sight, _ = toy_batch(1, seed)
    rng = torch.Generator().manual_seed(seed)
    text, mask = torch.randn(1, words, SIZES.text, generator=rng), torch.ones(1, words, dtype=torch.bool)
    noise = torch.randn(1, SIZES.horizon, SIZES.action_width, generator=rng)
    return sight._replace(text=text, text_mask=mask), noise


@torch.no_grad()
@pytest.mark.parametrize("kind", ["torch", "eager", "openvino"])
def test_the_same_chunk_as_pi0(kind: str) -> None:
    """Folded, and recorded; one graph answers instructions of every length."""
    pi0, realtime = twins()
    drawn_by = realtime if kind == "torch" else Recorded(realtime, 6, kind)
    for seed, words in ((0, 3), (1, 1), (2, 6), (3, 2)):
        sight, noise = row(seed, words)
        expected = pi0.draw(sight, noise)
        found = drawn_by.draw(sight, noise)
        torch.testing.assert_close(found.chunk, expected.chunk, atol=2e-5, rtol=1e-4)
        assert found.passes == expected.passes == STEPS


@pytest.mark.parametrize(
    "decoder", [{"kv_heads": 1}, {"kv_heads": 4}, {"activation": "silu", "rope_base": 100.0}, {"layers": 1}]
)
def test_the_same_chunk_for_every_shape_of_decoder(decoder: dict[str, Any]) -> None:
    pi0, realtime = twins(**decoder)
    sight, noise = row(4)
    torch.testing.assert_close(realtime.draw(sight, noise).chunk, pi0.draw(sight, noise).chunk, atol=2e-5, rtol=1e-4)


def test_pi0_trained_or_not_reads_and_writes_the_same_weights() -> None:
    pi0, realtime = twins()
    assert {n: p.shape for n, p in pi0.state_dict().items()} == {n: p.shape for n, p in realtime.state_dict().items()}
    assert pi0.notes() == realtime.notes()


def test_new_weights_are_folded_anew() -> None:
    _, realtime = twins()
    sight, noise = row(0)
    before = realtime.draw(sight, noise).chunk
    realtime.train()
    with torch.no_grad():
        realtime.expert.velocity_out.bias.add_(1.0)
    torch.testing.assert_close(realtime.eval().draw(sight, noise).chunk, before + 1.0, atol=1.0, rtol=0)
    assert float((realtime.draw(sight, noise).chunk - before).abs().mean()) > 0.5


def test_it_learns_to_reach_what_is_named_as_pi0_does() -> None:
    torch.manual_seed(0)
    realtime = fitted(RealtimeVla(Pi0Config(BACKBONE, EXPERT, 2, 4, STEPS), SIZES))
    before = miss_cm(realtime)
    learn(realtime, 180)
    assert miss_cm(realtime.eval()) < 0.5 * before


class Counted(TorchDispatchMode):
    """Counts what a network asks of the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    @property
    def products(self) -> int:
        """Matrix products, those within attention apart."""
        return sum(self.calls[name] for name in ("mm", "addmm"))


def expert(horizon: int = 5) -> tuple[Decoder, ActionExpert, FoldedExpert, tuple[Tensor, ...]]:
    """A prefix of 9 tokens, of which two rows have 7 and 9."""
    torch.manual_seed(0)
    config = DecoderConfig(**DECODER)  # type: ignore[arg-type]
    sizes = SIZES.__class__(
        horizon=horizon, action_width=3, state=4, views=1, names=1, features=1, generic=1, text=1, sentence=1
    )
    backbone, drawn = Decoder(config), ActionExpert(ActionExpertConfig(24, 48), config, sizes)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[0, 7:] = False
    inputs = torch.randn(2, 9, config.width), valid, torch.randn(2, 4), torch.tensor([9]), torch.randn(2, horizon, 3)
    return backbone, drawn, FoldedExpert(backbone, drawn, STEPS, 9), inputs


@torch.no_grad()
def test_padding_within_the_prefix_weighs_nothing() -> None:
    backbone, drawn, folded, (tokens, valid, state, first, noise) = expert()
    hidden, cache = backbone(tokens, torch.arange(9)[None], valid[:, None, None])
    x = noise
    for i in range(STEPS):
        time = torch.full(x.shape[:2], i / STEPS)
        x = x + drawn.velocity(x, time, state, Read(hidden, valid, cache)) / STEPS
    found = folded(tokens, valid, state, first, noise)
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-4)
    tokens[0, 7:] = 100.0
    torch.testing.assert_close(folded(tokens, valid, state, first, noise), found)


@torch.no_grad()
def test_the_graph_is_simpler() -> None:
    """Four products per layer instead of seven, none for the state and no time embedding within the Euler steps."""
    backbone, drawn, folded, inputs = expert()
    tokens, valid, state, _, noise = inputs
    layers = backbone.config.layers
    with Counted() as plain:
        hidden, cache = backbone(tokens, torch.arange(9)[None], valid[:, None, None])
        for i in range(STEPS):
            drawn.velocity(noise, torch.full(noise.shape[:2], i / STEPS), state, Read(hidden, valid, cache))
    with Counted() as simple:
        folded(*inputs)
    assert plain.products == 7 * layers + STEPS * (7 * layers + 5)
    prefix, once = 4 * (layers - 1) + 1, 4 * (layers - 1) + 2
    assert simple.products == prefix + once + STEPS * (4 * layers + 3)
    assert (
        plain.calls["sin"] > 0
        and simple.calls["sin"] == 0
        and sum(simple.calls.values()) < 0.6 * sum(plain.calls.values())
    )


def test_graphs_of_another_device_or_name_are_refused() -> None:
    module, example = torch.nn.Linear(2, 2), [torch.zeros(1, 2)]
    with pytest.raises(UnknownNameError, match="'tensorrt'; expected one of: auto, compiled"):
        static(module, example, "tensorrt")
    with pytest.raises(PolicyError, match="'cuda_graph' on cpu"):
        static(module, example, "cuda_graph")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["cuda_graph", "compiled_cuda_graph"])
def test_a_replayed_cuda_graph_answers_like_the_module(kind: str) -> None:
    _, _, folded, inputs = expert()
    folded, inputs = folded.cuda(), tuple(part.cuda() for part in inputs)
    run = static(folded, inputs, kind)
    for seed in range(3):
        torch.manual_seed(seed)
        fresh = (*inputs[:4], torch.randn_like(inputs[4]))
        with torch.no_grad():
            torch.testing.assert_close(run(fresh), folded(*fresh), atol=1e-4, rtol=1e-4)
