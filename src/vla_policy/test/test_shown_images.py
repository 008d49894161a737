"""Images and instruction as they are, for systems on a published vision-language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from toy_demonstrations import INSTRUCTIONS, NAMES, observation

from vla_core.contract import Contract
from vla_policy.core.eyes import Eyes
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.sight import Sight, spoken
from vla_policy.core.vocabulary import Vocabulary
from vla_policy.training.dataset import Dataset
from vla_policy.training.sights import SightBank


def test_the_robot_and_the_training_show_the_same(
    contract: Contract, preset_file: Path, data: Path, tmp_path: Path
) -> None:
    """And nobody is shown what it doesn't need."""
    torch.manual_seed(0)
    model = KeypointFlow(configure(yaml.safe_load(preset_file.read_text())["model"], contract))
    eyes = Eyes(model, Vocabulary.from_corpus(INSTRUCTIONS, NAMES), contract, "toy")
    still = {"shift_px": 0, "colour": 0.0, "blur_probability": 0.0}
    dataset, device = Dataset(data, contract), torch.device("cpu")

    def bank(needs: frozenset[str]) -> SightBank:
        return SightBank(eyes, dataset, list(dataset.instructions), tmp_path, still, needs, device)

    rows, sentences = np.array([3, 5]), np.array([1, 0])
    assert bank(frozenset()).sight(rows, sentences).rgb is None
    assert eyes.observe(observation(contract))[0].rgb is None
    kept = bank(frozenset({"rgb", "instruction"})).sight(rows, sentences)
    assert kept.rgb is not None and kept.instruction is not None
    texts = tuple(dataset.instructions[i] for i in sentences)
    assert spoken(kept.instruction) == texts
    frame = dataset.batch(rows)
    seen = replace(observation(contract), rgb=frame["rgb"][1], state=frame["raw_state"][1], instruction=texts[1])
    sight = eyes.observe(seen)[0]
    assert sight.rgb is not None and sight.instruction is not None
    assert torch.equal(sight.rgb[0], kept.rgb[1]) and spoken(sight.instruction) == texts[1:]
    both = Sight.stacked([sight, sight.repeated(2)])
    assert both.rgb is not None and len(both.rgb) == 3 and both.rows(slice(1, 2)).rgb.shape == sight.rgb.shape  # type: ignore[union-attr]
