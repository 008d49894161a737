"""The detector's parts: boxes and probabilities out of the network's output, targets, losses, figures, weight files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_core.errors import ConfigError, ObservationError, UnknownNameError, WeightsError
from vla_perception.core.detector.decode import Calibration, decode
from vla_perception.core.detector.detection import Detected, Truth, Vocabulary, clipped, overlaps, without_doubles
from vla_perception.core.detector.flat import FlatDetector, padded
from vla_perception.core.detector.losses import detection_losses, focal_loss
from vla_perception.core.detector.network import Network, NetworkConfig, padded_size
from vla_perception.core.detector.precision import Judge, average_precision
from vla_perception.core.detector.second_look import (
    SecondLook,
    SecondLookConfig,
    Square,
    cutting,
    cuttings,
    look_by_torch,
)
from vla_perception.core.detector.targets import encode
from vla_perception.core.detector.weights import DetectorMetadata, load_detector, save_detector

WORDS = Vocabulary(("mug", "can", "table", "shelf"), ("red", "green", "blue"), 2)
SIZES = NetworkConfig((4, 6, 8, 8, 8), (1, 1, 1, 1), 8, 4, 3)
SIZE = (160, 128)  # width, height


def truth_of(*objects: tuple[tuple[float, float, float, float], int, int], clear: bool = True) -> Truth:
    boxes = np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4)
    classes, colours = (np.array([o[i] for o in objects], np.int64) for i in (1, 2))
    return Truth(boxes, classes, colours, np.full(len(objects), clear))


def perfect(truth: Truth) -> np.ndarray:
    """What a network would say that knows the truth."""
    target = encode(truth, WORDS, SIZE)
    h, w = target.heat.shape[1:]
    p = np.clip(target.heat, 1e-6, 1 - 1e-6)
    rows, columns = np.indices((h, w)) + 0.5
    low, high = target.boxes[:, :2] / 8, target.boxes[:, 2:] / 8
    middle, size = (low + high) / 2, np.maximum(high - low, 1e-3)
    boxes = np.stack([middle[:, 0] - columns, middle[:, 1] - rows, np.log(size[:, 0]), np.log(size[:, 1])], 1)
    colours = np.where(np.arange(3)[:, None, None] == target.colours, 8.0, 0.0)
    return np.concatenate([np.log(p / (1 - p)), boxes.reshape(8, h, w), colours]).astype(np.float32)


# -- targets and decoding -----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.floats(8, 120), st.floats(8, 90), st.floats(5, 60), st.floats(5, 60), st.integers(0, 3), st.integers(0, 2))
def test_decoding_inverts_encoding(x: float, y: float, w: float, h: float, kind: int, colour: int) -> None:
    box = (x, y, min(x + w, SIZE[0]), min(y + h, SIZE[1]))
    truth = truth_of((box, kind, colour if kind < 2 else -1))
    found = decode(perfect(truth), WORDS, SIZE, 0.3, Calibration())
    assert len(found) == 1
    np.testing.assert_allclose(found[0].box, box, atol=0.51)
    assert int(found[0].classes.argmax()) == kind and found[0].score > 0.9
    if kind < 2:
        assert int(found[0].colours.argmax()) == colour
    else:
        np.testing.assert_allclose(found[0].colours, 1 / 3)


def test_a_mug_in_the_middle_of_a_table_is_found_beside_the_table() -> None:
    """Both have their middle in the same cell."""
    truth = truth_of(((40, 30, 120, 98), 2, -1), ((74, 58, 86, 70), 0, 1))
    found = decode(perfect(truth), WORDS, SIZE, 0.3, Calibration())
    assert {int(one.classes.argmax()): one.box for one in found} == {2: (40, 30, 120, 98), 0: (74, 58, 86, 70)}


def test_one_place_is_one_thing_whichever_it_is() -> None:
    """The score is that of being there: a thing that may be a mug or a can is surer than either."""
    heads = np.full((15, 4, 4), -7.0, np.float32)
    heads[4:12] = 0.0
    heads[0, 2, 2], heads[1, 2, 2] = 0.0, -0.4
    found = decode(heads, WORDS, (32, 32), 0.3, Calibration())
    assert len(found) == 1 and found[0].score > 0.5 and found[0].box == (16, 16, 24, 24)
    assert found[0].classes.sum() == pytest.approx(1.0) and found[0].classes[2:].sum() == 0.0
    assert found[0].classes[1] == pytest.approx(1 / (1 + np.exp(0.4)), abs=1e-5)


def test_a_mug_beside_a_can_in_the_next_cell_are_two_things() -> None:
    truth = truth_of(((40, 40, 48, 50), 0, 1), ((48, 40, 56, 50), 1, 2))
    found = decode(perfect(truth), WORDS, SIZE, 0.3, Calibration())
    assert {int(one.classes.argmax()): one.box for one in found} == {0: (40, 40, 48, 50), 1: (48, 40, 56, 50)}


def test_calibration_moves_scores_and_not_what_is_found_first() -> None:
    heads = np.full((15, 4, 4), -7.0, np.float32)
    heads[4:12] = 0.0
    heads[0, 0, 0], heads[1, 3, 3] = 2.0, 1.0
    plain = decode(heads, WORDS, (32, 32), 0.01, Calibration())
    doubted = decode(heads, WORDS, (32, 32), 0.01, Calibration(0.5, -1.0, 2.0, 1.0))
    assert [one.box for one in plain[:2]] == [one.box for one in doubted[:2]]
    assert doubted[0].score == pytest.approx(1 / (1 + np.exp(1.0 - 0.5 * 2.0)), abs=0.01)
    assert doubted[0].classes.max() < plain[0].classes.max()


def test_what_is_not_clear_is_no_error_and_teaches_nothing() -> None:
    target = encode(truth_of(((40, 40, 60, 60), 0, 1), clear=False), WORDS, SIZE)
    assert target.heat.max() == 0.0 and target.weights.max() == 0.0 and (target.colours == -1).all()
    assert target.care[0, 5:7, 5:7].max() == 0.0 and target.care[1].min() == 1.0 and target.care[0].mean() > 0.9


def test_weights_of_a_box_sum_to_one_and_the_smaller_keeps_its_cells() -> None:
    target = encode(truth_of(((20, 20, 100, 100), 0, 0), ((56, 56, 66, 66), 1, 2)), WORDS, SIZE)
    assert target.colours[7, 7] == 2 and (target.boxes[0, :, 7, 7] == [56, 56, 66, 66]).all()
    alone = encode(truth_of(((20, 20, 100, 100), 0, 0)), WORDS, SIZE)
    assert alone.weights.sum() == pytest.approx(1.0, abs=1e-5)


@given(st.lists(st.floats(-50, 250), min_size=4, max_size=4))
def test_clipped_boxes_are_in_the_image_and_never_empty(corners: list[float]) -> None:
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    box = clipped((x0, y0, x1, y1), 160, 120)
    if box is None:
        assert x1 < 1 or y1 < 1 or x0 > 158 or y0 > 118
    else:
        assert 0 <= box[0] < box[2] <= 160 and 0 <= box[1] < box[3] <= 120


def test_overlaps_and_doubles() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]], np.float32)
    shared = overlaps(boxes, boxes)
    np.testing.assert_allclose(shared, [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], atol=1e-6)
    scores = np.array([0.5, 0.9, 0.1], np.float32)
    assert without_doubles(boxes, scores, 0.4) == [1, 2] and without_doubles(boxes, scores, 0.6) == [1, 0, 2]


# -- network and losses -------------------------------------------------------------------------------------------


def batch_of(truth: Truth) -> dict[str, torch.Tensor]:
    target = encode(truth, WORDS, SIZE)
    names = ("heat", "care", "boxes", "weights", "colours")
    return {name: torch.from_numpy(getattr(target, name))[None] for name in names}


def test_losses_of_the_truth_are_small_and_grow_with_every_error() -> None:
    truth = truth_of(((40, 30, 120, 98), 2, -1), ((20, 58, 36, 74), 0, 1))
    heads = torch.from_numpy(perfect(truth))[None]
    best = detection_losses(heads, SIZES, WORDS.things, **batch_of(truth))
    assert best["box"] < 1e-3 and best["size"] < 1e-3 and best["colour"] < 0.01
    for name, (channel, error) in {"heat": (0, 13.0), "box": (4, 1.0), "size": (6, 1.0), "colour": (12, 20.0)}.items():
        wrong = heads.clone()
        wrong[:, channel] += error
        assert detection_losses(wrong, SIZES, WORDS.things, **batch_of(truth))[name] > best[name] + 0.1


def test_box_and_focal_gradients_agree_with_finite_differences() -> None:
    truth = truth_of(((40, 30, 75, 60), 0, 1))
    batch = {name: v.double() if v.is_floating_point() else v for name, v in batch_of(truth).items()}
    torch.manual_seed(0)
    heads = (0.3 * torch.randn(1, 15, 16, 20, dtype=torch.float64)).requires_grad_()

    def total(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(detection_losses(x, SIZES, WORDS.things, **batch).values())).sum()

    (gradient,) = torch.autograd.grad(total(heads), heads)
    rng, step = np.random.default_rng(0), 1e-6
    spots = [(c, 5, 7) for c in range(15)] + [(int(rng.integers(15)), 5, 6) for _ in range(5)]
    for spot in spots:
        beside = torch.zeros_like(heads)
        beside[(0, *spot)] = step
        numeric = (total(heads + beside) - total(heads - beside)) / (2 * step)
        assert float(gradient[(0, *spot)]) == pytest.approx(float(numeric.detach()), rel=1e-3, abs=1e-5)


def test_focal_loss_ignores_what_nobody_cares_about() -> None:
    logits, heat = torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 1, 2, 2)
    care = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert focal_loss(logits, heat, care) == pytest.approx(float(focal_loss(logits, heat, torch.ones_like(care))) / 4)


def test_a_step_of_training_lowers_the_loss() -> None:
    truth = truth_of(((40, 30, 120, 98), 2, -1), ((20, 58, 36, 74), 0, 1))
    torch.manual_seed(0)
    model, rgb = Network(SIZES), torch.randint(0, 255, (1, SIZE[1], SIZE[0], 3), dtype=torch.uint8)
    optimiser, seen = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(15):
        loss = torch.stack(list(detection_losses(model(rgb), SIZES, 2, **batch_of(truth)).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.7 * seen[0]


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="five widths"):
        NetworkConfig((4, 4), (1, 1, 1, 1), 4, 3, 2)


# -- figures ------------------------------------------------------------------------------------------------------


def told(box: tuple[int, int, int, int], score: float, kind: int, colour: int = 0) -> Detected:
    classes = np.eye(4, dtype=np.float32)[kind] * 0.8 + 0.05
    return Detected(box, score, classes, np.eye(3, dtype=np.float32)[colour])


def test_average_precision_of_a_worked_example() -> None:
    """Right, wrong, right of three: precision 1 up to recall 1/3, then 2/3 up to 2/3."""
    scores, right = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert average_precision(scores, right, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0.0


def test_figures_tell_hits_misses_false_ones_and_colours() -> None:
    judge = Judge(WORDS)
    truth = truth_of(((0, 0, 10, 10), 0, 1), ((20, 20, 40, 40), 1, 2), ((50, 50, 90, 90), 2, -1))
    judge.add([told((0, 0, 10, 10), 0.9, 0, 1), told((20, 20, 40, 40), 0.8, 0, 2), told((100, 100, 110, 110), 0.7, 1)],
              truth)  # fmt: skip
    found = judge.figures(0.5)
    assert found["recall"] == pytest.approx(1 / 3) and found["recall_things"] == pytest.approx(0.5)
    assert found["false_per_image"] == 2.0 and found["colour"] == 1.0
    assert found["ap50"] == {"mug": 1.0, "can": 0.0, "table": 0.0}
    assert judge.figures(0.95)["recall"] == 0.0 and judge.figures(0.95)["false_per_image"] == 0.0


def test_an_object_is_found_once_and_what_is_not_clear_costs_nothing() -> None:
    judge = Judge(WORDS)
    judge.add([told((0, 0, 10, 10), 0.9, 0), told((0, 0, 10, 9), 0.8, 0)], truth_of(((0, 0, 10, 10), 0, 0)))
    assert judge.figures(0.5)["false_per_image"] == 1.0
    judge = Judge(WORDS)
    judge.add([told((0, 0, 10, 10), 0.9, 0)], truth_of(((0, 0, 10, 10), 0, 0), clear=False))
    found = judge.figures(0.5)
    assert found["false_per_image"] == 0.0 and found["objects"] == 0


def test_a_mug_found_where_a_table_is_is_false() -> None:
    judge = Judge(WORDS)
    judge.add([told((0, 0, 50, 50), 0.9, 0)], truth_of(((0, 0, 50, 50), 2, -1)))
    assert judge.figures(0.5)["false_per_image"] == 1.0


def test_calibration_recovers_how_often_an_overconfident_detector_is_right() -> None:
    rng, judge = np.random.default_rng(0), Judge(WORDS)
    for _ in range(1500):
        odds = rng.normal(0.0, 3.0)
        there = rng.random() < 1 / (1 + np.exp(-(0.5 * odds - 0.7)))
        box = (0, 0, 10, 10) if there else (60, 60, 70, 70)
        judge.add([told(box, float(1 / (1 + np.exp(-odds))), 0)], truth_of(((0, 0, 10, 10), 0, 0)))
    found = judge.calibration()
    assert found.gain == pytest.approx(0.5, abs=0.08) and found.offset == pytest.approx(-0.7, abs=0.15)
    assert Judge(WORDS).calibration() == Calibration(), "nothing to learn from"


def test_the_threshold_is_where_precision_and_recall_balance() -> None:
    judge = Judge(WORDS)
    for score, right in ((0.9, True), (0.8, True), (0.7, True), (0.3, False), (0.2, False)):
        judge.add([told((0, 0, 10, 10) if right else (50, 50, 60, 60), score, 0)], truth_of(((0, 0, 10, 10), 0, 0)))
    assert judge.best_threshold() == pytest.approx(0.7)


# -- weight files and the detector --------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    model = Network(SIZES)
    with torch.no_grad():
        model.out.bias[:4] = -0.5  # it sees things everywhere
    path = tmp_path / "d.safetensors"
    metadata = DetectorMetadata(WORDS, SIZES, Calibration(1.0, 0.5, 1.2, 0.9), 0.3, {"steps": 3})
    save_detector(path, model.eval(), metadata)
    return path


def test_a_weight_file_says_what_it_was_told(weights: Path) -> None:
    _, second, metadata = load_detector(weights)
    assert second is None
    assert metadata == DetectorMetadata(WORDS, SIZES, Calibration(1.0, 0.5, 1.2, 0.9), 0.3, {"steps": 3})


def test_missing_corrupt_and_foreign_files_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="detector_training"):
        load_detector(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(weights.read_bytes()[:200])
    with pytest.raises(WeightsError, match="intact"):
        load_detector(tmp_path / "bad.safetensors")
    other = replace(SIZES, features=12)
    save_detector(tmp_path / "other.safetensors", Network(SIZES), DetectorMetadata(WORDS, other, Calibration(), 0.3))
    with pytest.raises(WeightsError, match="another shape"):
        load_detector(tmp_path / "other.safetensors")


@pytest.fixture
def looking_twice(weights: Path, tmp_path: Path) -> Path:
    """The same weights with a second look."""
    model, _, metadata = load_detector(weights)
    torch.manual_seed(2)
    second = SecondLook(SecondLookConfig(16, (4, 4, 8, 8), WORDS.things, 0.7)).eval()
    path = tmp_path / "twice.safetensors"
    save_detector(path, model, replace(metadata, second_look=second.config), second)
    return path


def test_a_weight_file_may_hold_a_second_look(looking_twice: Path) -> None:
    _, second, metadata = load_detector(looking_twice)
    assert second is not None and metadata.second_look == second.config
    assert second.config == SecondLookConfig(16, (4, 4, 8, 8), WORDS.things, 0.7)
    with pytest.raises(ConfigError, match="four widths"):
        SecondLookConfig(16, (4, 4, 8), 3)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_the_second_look_tells_what_things_are_and_nothing_else(
    weights: Path, looking_twice: Path, backend: str
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    once, twice = (FlatDetector(path, 0.1, backend).detect(image) for path in (weights, looking_twice))
    _, second, _ = load_detector(looking_twice)
    assert len(once) == len(twice) > 20, "more than are looked at at once"
    for a, b in zip(once, twice, strict=True):
        assert a.box == b.box and a.score == b.score and (a.colours == b.colours).all()
        if int(a.classes.argmax()) >= WORDS.things:
            assert (a.classes == b.classes).all()
            continue
        logits = look_by_torch(second)(cuttings(image, [a.box], 16))[0] / 0.7
        expected = np.exp(logits - logits.max())
        np.testing.assert_allclose(b.classes[: WORDS.things], expected / expected.sum(), atol=2e-3)
        assert b.classes.sum() == pytest.approx(1.0) and (b.classes[WORDS.things :] == 0.0).all()


@given(st.floats(10.0, 40.0), st.floats(10.0, 40.0), st.floats(6.0, 30.0), st.sampled_from([12, 20, 40]))
def test_a_cutting_shows_its_square_at_its_size(x: float, y: float, side_px: float, side: int) -> None:
    """A picture whose red is the column and whose green is the row says where every pixel of a cutting comes from."""
    rows, columns = np.mgrid[:50, :50]
    image = np.stack([5 * columns, 5 * rows, np.zeros((50, 50))], 2).astype(np.uint8)
    made = cutting(image, Square(x, y, side_px), side).astype(float)
    within = (np.arange(side) + 0.5) * side_px / side - 0.5 * side_px
    inside = (made[..., 2] == 0.0) & (np.abs(within + x - 25) < 23)[None] & (np.abs(within + y - 25) < 23)[:, None]
    assert np.abs(made[..., 0] / 5 - (x + within - 0.5)[None])[inside].max(initial=0.0) < 0.6
    assert np.abs(made[..., 1] / 5 - (y + within - 0.5)[:, None])[inside].max(initial=0.0) < 0.6
    other = cutting(image, Square(x, y, side_px), side, mirrored=True).astype(float)
    assert np.abs(other - made[:, ::-1])[4:-4, 4:-4].max(initial=0.0) <= 6.0


@pytest.mark.parametrize("shape", [(96, 128), (100, 90)])
def test_openvino_and_torch_find_the_same(weights: Path, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    one, other = (FlatDetector(weights, 0.1, backend).detect(image) for backend in ("torch", "openvino"))
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-3)
        np.testing.assert_allclose(a.box, b.box, atol=1)
        np.testing.assert_allclose(a.classes, b.classes, atol=1e-3)
        np.testing.assert_allclose(a.colours, b.colours, atol=1e-3)


def test_detections_are_within_any_image_sorted_and_above_the_threshold(weights: Path) -> None:
    detector = FlatDetector(weights, backend="torch")
    assert detector.least_score == 0.3 and detector.classes == WORDS.classes and detector.colours == WORDS.colours
    for height, width in ((33, 70), (240, 320), (8, 8)):
        found = detector.detect(np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8))
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True) and all(score >= 0.3 for score in scores)
        for one in found:
            assert 0 <= one.box[0] < one.box[2] <= width and 0 <= one.box[1] < one.box[3] <= height
            assert one.classes.dtype == np.float32 and one.classes.sum() == pytest.approx(1.0, abs=1e-5)
            assert one.colours.sum() == pytest.approx(1.0, abs=1e-5)


def test_padding_adds_nothing_but_grey() -> None:
    image = np.random.default_rng(2).integers(0, 255, (33, 64, 3), np.uint8)
    whole = padded(image)
    assert whole.shape == (64, 64, 3) and padded_size((64, 64)) == (64, 64)
    np.testing.assert_array_equal(whole[:33], image)
    assert (whole[33:] == 127).all()


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32),
                                   np.zeros((8, 8, 4), np.uint8)])  # fmt: skip
def test_other_images_are_refused(weights: Path, image: np.ndarray) -> None:
    with pytest.raises(ObservationError, match="uint8"):
        FlatDetector(weights, backend="torch").detect(image)


def test_an_unknown_backend_is_refused(weights: Path) -> None:
    with pytest.raises(UnknownNameError, match="openvino"):
        FlatDetector(weights, backend="cuda")
