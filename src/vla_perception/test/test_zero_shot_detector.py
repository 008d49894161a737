"""Zero-shot detectors on tiny models of the real architectures, randomly initialised; and the registry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_core.errors import ConfigError, UnknownNameError, WeightsError
from vla_perception.core.detector import registry
from vla_perception.core.detector.detection import FreeTextDetector
from vla_perception.core.detector.registry import DETECTORS, DetectorOptions, make_detector
from vla_perception.core.detector.zero_shot import ZeroShotDetector

CLASSES, COLOURS = ("mug", "dining_table"), ("red", "blue", "green")


def bert_words(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "mug", "dining", "table", "object", *COLOURS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")


def grounding_dino(folder: Path) -> None:
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    bert_words(folder)
    swin = SwinConfig(image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
                      window_size=2, out_features=["stage2", "stage3", "stage4"])  # fmt: skip
    text = BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, num_queries=12,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


def owlv2(folder: Path) -> None:
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    letters = [chr(i) for i in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    shared = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Owlv2Config(
        text_config={**shared, **ends, "vocab_size": len(words), "max_position_embeddings": 16},
        vision_config={**shared, "image_size": 64, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)


MAKERS = {"owlv2": owlv2, "grounding_dino": grounding_dino}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    MAKERS[request.param](folder)
    return request.param, folder


def test_every_phrase_is_asked_and_boxes_are_in_the_image(published: tuple[str, Path]) -> None:
    name, folder = published
    detector = make_detector(name, DetectorOptions(folder, CLASSES, COLOURS, 0.0))
    assert detector.classes == CLASSES and detector.colours == COLOURS
    found = detector.detect(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    assert found
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        assert 0 <= one.box[0] < one.box[2] <= 90 and 0 <= one.box[1] < one.box[3] <= 60
        assert one.classes.shape == (2,) and one.classes.sum() == pytest.approx(1.0, abs=1e-5)
        assert one.colours.shape == (3,) and one.colours.sum() == pytest.approx(1.0, abs=1e-5)


def test_scores_below_the_least_are_left_out(published: tuple[str, Path]) -> None:
    name, folder = published
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    every = make_detector(name, DetectorOptions(folder, CLASSES, COLOURS, 0.0)).detect(image)
    least = every[0].score - 1e-6
    few = make_detector(name, DetectorOptions(folder, CLASSES, COLOURS, least)).detect(image)
    assert 0 < len(few) < len(every) and all(one.score >= least for one in few)


def test_it_looks_for_what_it_is_told_as_if_it_had_begun_so(published: tuple[str, Path]) -> None:
    name, folder = published
    image = np.random.default_rng(1).integers(0, 255, (60, 90, 3), np.uint8)
    told = make_detector(name, DetectorOptions(folder, CLASSES, COLOURS, 0.0))
    assert isinstance(told, FreeTextDetector)
    for phrase in ("Mug.", "green  mug", "green mug"):
        told.look_for(phrase)
    assert told.classes == (*CLASSES, "green mug")
    begun = make_detector(name, DetectorOptions(folder, told.classes, COLOURS, 0.0)).detect(image)
    found = told.detect(image)
    assert [one.box for one in found] == [one.box for one in begun] and found[0].classes.shape == (3,)
    np.testing.assert_array_equal([one.classes for one in found], [one.classes for one in begun])
    with pytest.raises(ConfigError, match=r"got ' \. ' as a class"):
        told.look_for(" . ")
    with pytest.raises(ConfigError, match="at most"):
        for number in range(100):
            told.look_for(f"thing {number}")


def test_boxes_are_those_that_transformers_itself_makes(published: tuple[str, Path]) -> None:
    """Against the library's own post-processing: the surest box."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    name, folder = published
    image = np.random.default_rng(3).integers(0, 255, (60, 90, 3), np.uint8)
    best = make_detector(name, DetectorOptions(folder, CLASSES, (), 0.0)).detect(image)[0]
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder, local_files_only=True).eval()
    phrases = ["mug", "dining table"]
    text = [phrases] if name == "owlv2" else "mug. dining table."
    inputs = processor(text=text, images=image, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    if name == "owlv2":
        told = processor.post_process_grounded_object_detection(outputs, 0.0, torch.tensor([[60, 90]]))[0]
    else:
        told = processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=[(60, 90)]
        )[0]
    boxes = np.clip(told["boxes"].numpy(), 0, [90, 60, 90, 60])
    inside = ((boxes[:, 2:] - boxes[:, :2]) > 1.0).all(1)  # OWLv2 also finds things in its padding
    own = int(np.where(inside, told["scores"].numpy(), -1.0).argmax())
    np.testing.assert_allclose(best.box, boxes[own], atol=1.01)
    assert best.score == pytest.approx(float(told["scores"][own]), abs=1e-4)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_missing_folder_is_one_clear_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no folder .*nowhere.*fetch one to that folder") as error:
        make_detector(name, DetectorOptions(tmp_path / "nowhere", CLASSES, COLOURS))
    assert "\n" not in str(error.value)


def test_a_folder_of_another_model_or_without_weights_is_refused(published: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = published
    other = next(family for family in MAKERS if family != name)
    with pytest.raises(UnknownNameError, match="model type"):
        make_detector(other, DetectorOptions(folder, CLASSES, COLOURS))
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match="fetch the folder again"):
        make_detector(name, DetectorOptions(tmp_path, CLASSES, COLOURS))


def test_options_that_do_not_suit_are_refused(published: tuple[str, Path]) -> None:
    name, folder = published
    with pytest.raises(ConfigError, match="set its weights"):
        make_detector(name, DetectorOptions(None, CLASSES, COLOURS))
    with pytest.raises(ConfigError, match="name what to look for"):
        make_detector(name, DetectorOptions(folder))
    with pytest.raises(UnknownNameError, match="grounding_dino"):
        ZeroShotDetector("yolo", folder, CLASSES, COLOURS, 0.1)


def test_flat_without_weights_says_how_to_get_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SHIPPED", "vla_perception/weights/none.safetensors")
    with pytest.raises(WeightsError, match="detector_training"):
        make_detector("flat", DetectorOptions())


def test_the_registry_names_what_it_knows() -> None:
    assert {"flat", "owlv2", "grounding_dino"} <= set(DETECTORS)
    with pytest.raises(UnknownNameError, match="grounding_dino"):
        make_detector("yolo", DetectorOptions())
