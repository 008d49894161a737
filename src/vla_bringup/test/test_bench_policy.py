"""`vla bench policy`: what is timed is what the paper's sizes say, and the simplified pi0 is the same pi0."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vla_bringup.bench import pi0_size, policy
from vla_bringup.bench.pi0_size import SIZES, WAYS, Pi0Size, SimplifiedPi0, SizedPi0
from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core.blocks.action_expert import ActionExpertConfig
from vla_policy.core.blocks.decoder import DecoderConfig
from vla_policy.core.preset import Preset

VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
TINY = Pi0Size(DecoderConfig(32, 2, 4, 1, 8, 64), ActionExpertConfig(24, 48), VISION, 2, 3, 6, 5, 4, steps=3)
CPU = torch.device("cpu")


@torch.no_grad()
def test_the_simplified_pi0_draws_the_same_chunk() -> None:
    torch.manual_seed(0)
    net = SizedPi0(TINY).eval()
    inputs = net.inputs(CPU, torch.float32)
    expected = net(*inputs)
    torch.testing.assert_close(SimplifiedPi0(net)(*inputs), expected, atol=1e-5, rtol=1e-4)
    for k in range(len(inputs)):
        changed = [p + 1.0 if i == k else p for i, p in enumerate(inputs)]
        assert not torch.allclose(net(*changed), expected), f"input {k} has no influence"


def test_the_papers_size_is_timed() -> None:
    """2.9 to 3.4 thousand million parameters: 0.4 SigLIP, 2.0 Gemma without its table of words, 0.3 expert."""
    size = SIZES["pi0, paper's size, 2 views"]
    with torch.device("meta"):
        net = SizedPi0(size)
    millions = {n: sum(p.numel() for p in m.parameters()) / 1e6 for n, m in net.named_children()}
    assert 400 < millions["vision"] < 440 and 1900 < millions["backbone"] < 2050 and 300 < millions["expert"] < 330
    assert net.prefix == 2 * 256 + 20 and size.horizon == 50 and size.steps == 10


def test_every_way_gives_a_row_with_its_spread() -> None:
    said: list[str] = []
    ways = ["eager", "simplified, eager"]
    rows = pi0_size.measure({"tiny": TINY}, ways, 4, CPU, torch.bfloat16, said.append)
    assert [row["way"] for row in rows] == ways and set(ways) < set(WAYS) and len(said) == 2
    assert all(row["n"] == 4 and 0 < row["p50"] <= row["p95"] <= row["max"] for row in rows)
    assert rows[0]["weights"] == "random, bfloat16" and rows[0]["passes"] == 3


def test_the_shipped_policy_and_all_systems_are_timed_but_nothing_that_never_acts() -> None:
    names = policy.timed()
    assert {"tabletop_flow", "pi0", "realtime_vla", "nanovla", "pi05", "knowledge_insulation"} <= set(names)
    assert not {"small_vlm", "scripted_expert", "turntable_flow"} & set(names)


def arguments(**changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    policy.add_arguments(parser)
    args = parser.parse_args([])
    args.publish = False
    return argparse.Namespace(**vars(args) | changes)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UnknownNameError, match=r"'pi1'; expected one of: .*pi0"):
        policy.measure(arguments(policy="pi1"), lambda text: None)
    with pytest.raises(ConfigError, match="--cores 4096"):
        policy.measure(arguments(policy="pi0", cores="4096"), lambda text: None)


def test_a_preset_without_weights_is_timed_with_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eyes, instruction and system: a policy that answers observations of the contract."""
    monkeypatch.setattr(Preset, "has_weights", lambda preset: False)
    (row,) = policy.time_preset("nanovla", 1, 4)
    assert row["weights"] == "random" and row["passes"] == 1 and row["n"] == 4 and row["way"] == "torch"
    assert row["eyes"] > 0 and row["p50"] > 0 and 1 < row["parameters_m"] < 4


def test_what_can_be_recorded_is_timed_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its graph is what the second row has timed."""
    monkeypatch.setattr(Preset, "has_weights", lambda preset: False)
    made: list[dict[str, Any]] = []
    ways = policy.ways
    monkeypatch.setattr(policy, "ways", lambda *args: made.append(ways(*args)) or made[-1])
    rows = policy.time_preset("act", 1, 4)
    assert [row["way"] for row in rows] == list(made[0]) == ["torch", "OpenVINO"]
    assert all(row["n"] == 4 and row["passes"] == 1 and row["p50"] > 0 for row in rows)
    assert made[0]["torch"].recorded is None and made[0]["OpenVINO"].recorded._graph is not None


def test_start_weights_that_are_missing_are_left_out_and_others_are_kept() -> None:
    there = "vla_policy/weights/tabletop_flow.safetensors"
    model = {
        "backbone": {"block": "b", "start": "vla_policy/weights/none.safetensors"},
        "other": {"start": there},
        "n": 1,
    }
    assert policy._without_missing(model) == {"backbone": {"block": "b"}, "other": {"start": there}, "n": 1}


def test_rows_from_elsewhere_and_new_rows_stand_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def row(name: str, device: str, p50: float) -> dict[str, Any]:
        return {"policy": name, "device": device, "way": "w", "p50": p50}

    old = [row("pi0", "CPU, 1 core", 9.0), row("act", "CPU, 1 core", 8.0)]
    (tmp_path / "gpu.json").write_text(json.dumps({"rows": [row("pi0", "GPU", 1.0)]}))
    monkeypatch.setattr(policy, "_published", lambda: old)
    monkeypatch.setattr(policy, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(policy, "time_preset", lambda name, cores, chunks: [row(name, "CPU, 1 core", 7.0)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    args = arguments(policy="pi0", cores="1", add=tmp_path / "gpu.json", publish=True)
    rows = policy.measure(args, lambda text: None)
    assert [(r["policy"], r["device"], r["p50"]) for r in rows] == [
        ("act", "CPU, 1 core", 8.0), ("pi0", "CPU, 1 core", 7.0), ("pi0", "GPU", 1.0),
    ]  # fmt: skip
    assert policy.repeat(args) == ["--chunks", "100", "--cores", "1"]


class Here:
    """Calls at once, in this process."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, call: Any, *args: Any) -> Here:
        self.found = call(*args)
        return self

    def result(self) -> Any:
        return self.found
