"""Training end to end on toy demonstrations: it learns, resumes, caches and leaves a file that runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from toy_demonstrations import make_shard

from vla_core.contract import Contract
from vla_core.errors import ConfigError, WeightsError
from vla_policy.core.weights import read_weights
from vla_policy.training import precision
from vla_policy.training.__main__ import main
from vla_policy.training.featurise import FROZEN, featurise
from vla_policy.training.session import Options, Session
from vla_policy.training.stages import StageConfig
from vla_policy.training.trainer import Loop, LoopConfig


@pytest.fixture
def options(data: Path, preset_file: Path, tmp_path: Path) -> Options:
    return Options(
        data, tmp_path, str(preset_file), minutes={}, steps={"joint": 4, "expert": 4}, init=None, device="cpu"
    )


def test_it_learns_where_the_named_thing_is(trained: Path) -> None:
    """Overfit: on the frames it trained on, the place is found within two of 32 pixels; at random it is 12 off.

    The expert stage brings the actions closer than the joint stage left them.
    """
    figures = json.loads((trained / "result.json").read_text())
    assert figures["joint"]["train/uv_px_front"] < 2.0
    assert figures["expert"]["train/l1_cm"] < 0.9 * figures["joint"]["train/l1_cm"]
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {"joint", "expert"}


def test_a_preset_may_begin_with_what_another_one_sees(
    options: Options, preset_file: Path, trained: Path, tmp_path: Path
) -> None:
    written = yaml.safe_load(preset_file.read_text())
    taught = tmp_path / "taught.yaml"
    taught.write_text(yaml.safe_dump({**written, "weights": str(trained / "toy_flow.safetensors")}))
    begin = {"policy": str(taught), "parts": ["vision", "grounding"]}
    beginner = tmp_path / "beginner.yaml"
    beginner.write_text(yaml.safe_dump({**written, "training": {**written["training"], "begin": begin}}))
    tensors, _ = read_weights(trained / "toy_flow.safetensors")
    made = Session(replace(options, preset=str(beginner))).model.state_dict()
    taken = [name for name in tensors if name.startswith(("vision.", "grounding."))]
    assert taken and all(torch.equal(made[name], tensors[name]) for name in taken)
    assert not torch.equal(made["head.action.weight"], tensors["head.action.weight"])


def test_bfloat16_is_for_devices_that_compute_in_it(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: on a CPU without AVX-512 a training step took 15 times as long as in float32."""
    for native in (True, False):
        monkeypatch.setattr(precision, "_cpu_computes_in_bfloat16", lambda native=native: native)
        assert Session(options).material.mixed is native
    assert precision.bfloat16_pays(torch.device("cuda"))


def test_what_nobody_labelled_is_no_figure(options: Options, contract: Contract, tmp_path: Path) -> None:
    """Regression: Meta-World's frames tell no places; "presence 0" and NaN stood in their logs."""
    shard = make_shard(contract, 6, 4, np.random.default_rng(0))
    for name in ("role_used", "role_visible", "obj_visible"):
        shard[name][:] = 0
    shard["progress"][:] = np.nan
    (tmp_path / "bare").mkdir()
    np.savez(tmp_path / "bare" / "shard_0.npz", **shard)
    Session(replace(options, data=tmp_path / "bare", steps={"joint": 2})).run("joint")
    rows = [json.loads(line) for line in (options.out / "log.jsonl").read_text().splitlines()]
    figures = next(row["metrics"] for row in reversed(rows) if "metrics" in row)
    assert {"train/flow_cm", "train/l1_cm", "train/grip", "train/success_accuracy"} <= set(figures)
    assert not [
        name for name in figures if "uv_px" in name or "xyz" in name or "presence" in name or "progress" in name
    ]
    assert np.isfinite(list(figures.values())).all()


def test_the_expert_stage_leaves_vision_and_language_untouched(options: Options, trained: Path) -> None:
    session = Session(replace(options, init=trained / "checkpoint_joint.pt"))
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    session.run("expert")
    for name, value in session.model.state_dict().items():
        if name.partition(".")[0] in FROZEN:
            assert torch.equal(value, before[name]), name
    assert not torch.equal(session.model.head.velocity_out.weight, before["head.velocity_out.weight"])


def test_the_corrector_learns_what_disturbed_demonstrations_need(options: Options, trained: Path) -> None:
    """Bases are the policy's own chunks; nothing but the corrector learns, and it ends nearer to the expert."""
    steps = {"corrector": 120}
    session = Session(replace(options, init=trained / "toy_flow.safetensors", steps=steps))
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    session.run("corrector")
    changed = {n for n, value in session.model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed and all(name.startswith("corrector.") for name in changed)
    rows = [json.loads(line) for line in (options.out / "log.jsonl").read_text().splitlines()]
    losses = [row["losses"] for row in rows if "losses" in row]
    assert losses[-1]["l1"] < 0.8 * losses[-1]["l1_before"]


def test_the_corrector_learns_from_episodes_only(options: Options, trained: Path) -> None:
    """Regression: the two stills of a table are other poses, and passed for frames that follow each other."""
    session = Session(replace(options, init=trained / "toy_flow.safetensors", steps={"corrector": 1}))
    progress = session.dataset.labels["progress"]
    progress[: len(progress) // 2] = np.nan
    stage, _ = session._stage("corrector")
    batches = stage.batches(np.random.default_rng(0))
    for _ in range(20):
        batch = next(batches)
        assert np.isfinite(progress[batch["index"] - batch["first"]]).all()
    progress[:] = np.nan
    with pytest.raises(ConfigError, match="stills alone"):
        session._stage("corrector")


def test_future_states_are_learnt_where_the_recipe_says_so(options: Options, trained: Path) -> None:
    session = Session(replace(options, init=trained / "toy_flow.safetensors", future=True))
    assert not session.model.future.outer.weight.any()  # what was trained so far knows nothing of them
    session.run("expert")
    assert session.model.future.outer.weight.any()


def test_an_interrupted_run_goes_on_where_it_stopped(options: Options) -> None:
    Session(replace(options, steps={"joint": 3})).run("joint")
    state = torch.load(options.out / "checkpoint_joint.pt", weights_only=True)
    assert state["step"] == 3 and state["optimiser"]["state"]
    session = Session(replace(options, steps={"joint": 5}))
    session.run("joint")
    after = torch.load(options.out / "checkpoint_joint.pt", weights_only=True)
    assert after["step"] == 5 and after["elapsed_s"] > state["elapsed_s"]


def test_percepts_are_cached_until_the_frozen_part_changes(options: Options) -> None:
    session = Session(options)
    arguments = (session.model, session.dataset, session.material.instructions, options.out / "cache")
    augmentation = session.material.augmentation
    first = featurise(*arguments, augmentation)
    assert first["uv"].shape[0] == len(session.dataset) and np.isfinite(first["pooled"]).all()
    marked = first["uv"].copy()
    again = featurise(*arguments, augmentation)
    np.testing.assert_array_equal(again["uv"], marked)
    with torch.no_grad():
        session.model.generic.queries += 1.0
    assert not np.array_equal(featurise(*arguments, augmentation)["generic"], first["generic"].copy() * 0)
    fresh = featurise(*arguments, augmentation)["uv"]
    assert not np.array_equal(fresh, marked)  # augmented anew


def test_cached_percepts_equal_direct_ones(options: Options) -> None:
    session = Session(options)
    model, dataset = session.model.eval(), session.dataset
    still = {"shift_px": 0, "colour": 0.0, "blur_probability": 0.0}
    cached = featurise(model, dataset, session.material.instructions, options.out / "cache", still)
    rows = np.arange(5)
    batch = dataset.batch(rows)
    with torch.no_grad():
        reading = session.material.instructions.read(model, torch.from_numpy(batch["instruction"]))
        percept, _ = model.perceive(model.see(torch.from_numpy(batch["rgb"]), mixed=True), reading)
    np.testing.assert_allclose(cached["uv"][rows], percept.uv, atol=1e-2)
    np.testing.assert_allclose(cached["pooled"][rows].astype(np.float32), percept.pooled, atol=3e-2)


class Parabola:
    """A stage whose loss is |w - 3|^2, or NaN from a given step on."""

    config = StageConfig(1, 0.1, 1, 1, 0, 0)

    def __init__(self, model: nn.Linear, broken_after: int = 1_000_000) -> None:
        self.model, self.left = model, broken_after

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def batches(self, rng: np.random.Generator) -> Any:
        while True:
            yield {"x": rng.standard_normal(1)}

    def losses(self, batch: Any) -> dict[str, torch.Tensor]:
        self.left -= 1
        loss = (self.model.weight - 3.0).square().sum() + self.model.bias.square().sum()
        return {"flow": loss * (float("nan") if self.left < 0 else 1.0)}


def loop_config(steps: int) -> LoopConfig:
    return LoopConfig("toy", 0.0, steps, 0.1, 1, 0.0, 10.0, 0.99, {"flow": 1.0}, seed=0, print_every=50)


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    loop = Loop(model, Parabola(model), loop_config(300), tmp_path, lambda averaged: {"w": float(averaged.weight)})
    loop.run()
    assert abs(model.weight.item() - 3.0) < 0.05
    assert abs(float(loop.average.weight) - 3.0) < 0.2 and not torch.equal(loop.average.weight, model.weight)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 300 and "w" in last["metrics"]


def test_a_broken_gradient_stops_the_run(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    loop = Loop(model, Parabola(model, broken_after=2), loop_config(10), tmp_path, lambda _: {})
    with pytest.raises(WeightsError, match="gradient of nan at step 2"):
        loop.run()
    assert torch.isfinite(model.weight).all()


def test_mistakes_are_one_sentence(tmp_path: Path, preset_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--data", str(tmp_path), "--out", str(tmp_path), "--policy", str(preset_file), "--steps", "1"])
    assert code == 2
    assert capsys.readouterr().err.startswith("ERROR config: got no shard_*.npz")
