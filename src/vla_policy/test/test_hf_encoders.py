"""Published vision and language encoders: patches in order, channels joined, padding without influence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_vlms import SEEING, TEXT, tokenizer

from vla_core.errors import ConfigError, UnknownNameError, WeightsError
from vla_policy.core.blocks.hf_language import HfLanguage, HfLanguageConfig
from vla_policy.core.blocks.hf_vision import HfVision, HfVisionConfig

VISION = {**SEEING, "image_size": 28, "patch_size": 7}


def vision(kind: str, folder: Path, **options: Any) -> Any:
    """Write a random vision encoder to a folder."""
    import transformers as hf

    torch.manual_seed(0)
    classes = {
        "siglip": (hf.SiglipVisionConfig, hf.SiglipVisionModel, {"vision_use_head": False}),
        "clip": (hf.CLIPVisionConfig, hf.CLIPVisionModel, {}),
        "dinov2": (hf.Dinov2Config, hf.Dinov2Model, {"mlp_ratio": 2}),
        "registers": (hf.Dinov2WithRegistersConfig, hf.Dinov2WithRegistersModel, {"num_register_tokens": 3}),
    }
    config, model, more = classes[kind]
    made = model(config(**{**VISION, **more, **options})).eval()
    made.save_pretrained(folder)
    return made


def language(kind: str, folder: Path) -> Any:
    import transformers as hf

    torch.manual_seed(0)
    if kind == "t5":
        made: Any = hf.T5EncoderModel(
            hf.T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        )
    else:
        config, model = {
            "llama": (hf.LlamaConfig, hf.LlamaForCausalLM),
            "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM),
            "gemma": (hf.GemmaConfig, hf.GemmaForCausalLM),
        }[kind]
        made = model(config(**TEXT))
    made.eval().save_pretrained(folder)
    tokenizer(folder)
    return made


@pytest.mark.parametrize(("kind", "extra"), [("siglip", 0), ("clip", 1), ("dinov2", 1), ("registers", 4)])
@torch.no_grad()
def test_patches_are_those_of_transformers_without_what_is_no_patch(kind: str, extra: int, tmp_path: Path) -> None:
    model = vision(kind, tmp_path)
    rgb = torch.randint(0, 256, (2, 3, 28, 28, 3), dtype=torch.uint8)
    for layer in (-1, -2):
        seen = HfVision(HfVisionConfig((str(tmp_path),), layer))
        encoder: Any = seen.encoders[0]
        pixels = (rgb.flatten(0, 1).permute(0, 3, 1, 2) / 255 - encoder.mean) / encoder.std
        out = model(pixel_values=pixels, output_hidden_states=True)
        expected = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
        patches = seen(rgb)
        assert patches.shape == (2, 3, 16, 16)
        torch.testing.assert_close(patches.flatten(0, 1), expected[:, extra:], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_two_encoders_are_joined_channel_by_channel(tmp_path: Path) -> None:
    """The patch at one place holds what both see there, and nothing of another place's pixels at the first layer."""
    vision("siglip", tmp_path / "a")
    vision("registers", tmp_path / "b", hidden_size=24)
    both = HfVision(HfVisionConfig((str(tmp_path / "a"), str(tmp_path / "b"))))
    assert both.features == 40 and both.patches == 16
    rgb = torch.randint(0, 256, (1, 1, 28, 28, 3), dtype=torch.uint8)
    alone = [HfVision(HfVisionConfig((str(tmp_path / name),)))(rgb) for name in "ab"]
    torch.testing.assert_close(both(rgb), torch.cat(alone, -1))


@pytest.mark.parametrize("kind", ["t5", "llama", "qwen2", "gemma"])
@torch.no_grad()
def test_states_are_those_of_transformers_and_padding_has_no_influence(kind: str, tmp_path: Path) -> None:
    model = language(kind, tmp_path)
    made = HfLanguage(HfLanguageConfig(str(tmp_path), max_tokens=12))
    text = made.encode(["red cube", "bowl", "a very long sentence"])
    assert text.mask.sum(1).tolist() == [8, 4, 12]  # cut after 12
    ids = torch.tensor([made.tokenizer.encode("bowl").ids])
    inner = model if kind == "t5" else model.model
    states = inner(input_ids=ids).last_hidden_state[0].numpy()
    np.testing.assert_allclose(text.tokens[1, :4], states, atol=1e-5)
    assert not text.tokens[1, 4:].any()
    wanted = states.mean(0) if kind == "t5" else states[-1]
    np.testing.assert_allclose(text.sentence[1], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_what_does_not_fit(tmp_path: Path) -> None:
    vision("siglip", tmp_path / "a")
    vision("dinov2", tmp_path / "b", image_size=14)
    language("llama", tmp_path / "l")
    with pytest.raises(ConfigError, match=r"\[16, 4\] patches"):
        HfVision(HfVisionConfig((str(tmp_path / "a"), str(tmp_path / "b"))))
    with pytest.raises(ConfigError, match="one or two"):
        HfVision(HfVisionConfig(()))
    with pytest.raises(ConfigError, match="layer -3"):
        HfVision(HfVisionConfig((str(tmp_path / "a"),), layer=-3))
    with pytest.raises(UnknownNameError, match="dinov2"):
        HfVision(HfVisionConfig((str(tmp_path / "l"),)))
    with pytest.raises(UnknownNameError, match="llama"):
        HfLanguage(HfLanguageConfig(str(tmp_path / "a")))
    with pytest.raises(WeightsError, match=r"config\.json"):
        HfLanguage(HfLanguageConfig(str(tmp_path / "none")))
