"""LoRA: nothing changes at first, nothing but the thin matrices ever learns, and merging is exact."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.lora import Lora, LoraConfig

CONFIG = LoraConfig(rank=2, alpha=6.0, targets=("query", "value"))


def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig(width=16, layers=2, heads=2, kv_heads=1, head_width=8, hidden=24))


def run(module: nn.Module) -> Tensor:
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    out: Tensor = module(x, torch.arange(5)[None])[0]
    return out


def stir(lora: Lora) -> None:
    for parameter in lora.parameters():
        nn.init.normal_(parameter, std=0.3)


@torch.no_grad()
def test_at_first_nothing_changes_bit_for_bit() -> None:
    module = decoder()
    before, names = run(module), list(module.state_dict())
    lora = Lora(CONFIG, module)
    assert torch.equal(run(module), before)
    assert list(module.state_dict()) == names
    stir(lora)
    assert not torch.allclose(run(module), before, atol=1e-2)


def test_only_the_thin_matrices_learn() -> None:
    module = decoder()
    lora = Lora(CONFIG, module)
    before = copy.deepcopy(module.state_dict())
    both = nn.ModuleList([module, lora])
    optimiser = torch.optim.AdamW(both.parameters(), lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(20):
        loss = run(module).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(part, before[name]) for name, part in module.state_dict().items())
    assert {name.rpartition("/")[2].partition(".")[0] for name, _ in lora.adapters.named_parameters()} == set(
        CONFIG.targets
    )


@given(st.integers(1, 6), st.floats(0.5, 8.0), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_an_adapted_layer_is_equation_3(rank: int, alpha: float, inputs: int, outputs: int) -> None:
    """W x + alpha/r B A x + bias; merged it is one product, and unmerged the weight has its old bits."""
    module = nn.Sequential(nn.Linear(inputs, outputs))
    linear, weight = module[0], module[0].weight.clone()
    lora = Lora(LoraConfig(rank, alpha, ("0",)), module)
    stir(lora)
    ((_, a), (_, b)) = sorted(lora.adapters.named_parameters())
    x = torch.randn(3, inputs)
    expected = x @ (weight + alpha / rank * b @ a).T + linear.bias
    torch.testing.assert_close(module(x), expected, atol=1e-4, rtol=1e-4)
    lora.merge()
    lora.merge()
    torch.testing.assert_close(module(x), expected, atol=1e-4, rtol=1e-4)
    assert not torch.equal(linear.weight, weight)
    lora.unmerge()
    assert torch.equal(linear.weight, weight)
    torch.testing.assert_close(module(x), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_copy_of_both_has_adapters_of_its_own() -> None:
    """The average of a training run is a deep copy: it must not run with the matrices that learn."""
    both = nn.ModuleDict({"module": decoder()})
    both["lora"] = Lora(CONFIG, both["module"])
    other = copy.deepcopy(both)
    before = run(other["module"])
    stir(both["lora"])  # type: ignore[arg-type]
    assert torch.equal(run(other["module"]), before)
    stir(other["lora"])  # type: ignore[arg-type]
    assert not torch.allclose(run(other["module"]), before, atol=1e-2)
    copied = other["lora"]
    assert isinstance(copied, Lora)
    weight = both["module"].layers[0].query.weight.clone()  # type: ignore[index, union-attr]
    copied.merge()
    assert torch.equal(both["module"].layers[0].query.weight, weight)  # type: ignore[index, union-attr, arg-type]


def test_the_share_counts_every_weight() -> None:
    module = decoder()
    lora = Lora(CONFIG, module)
    thin = 2 * (2 * (16 + 16) + 2 * (16 + 8))  # two layers; rank 2; query 16x16, value 8x16
    assert lora.share(module) == pytest.approx(thin / (thin + sum(p.numel() for p in module.parameters())))


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"linear layer 'q_proj'; expected one of: .*query"):
        Lora(LoraConfig(2, 4.0, ("q_proj",)), decoder())
    with pytest.raises(ConfigError, match="rank of at least 1"):
        Lora(LoraConfig(0, 4.0, ("query",)), decoder())
