"""What the detector learns from: shards, augmentation; and the whole training, tiny, with a break in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vla_core.errors import ConfigError
from vla_perception.core.detector.decode import Calibration
from vla_perception.core.detector.detection import Detected, Truth
from vla_perception.core.detector.flat import FlatDetector
from vla_perception.core.detector.network import Network, NetworkConfig
from vla_perception.core.detector.weights import DetectorMetadata, save_detector
from vla_sim import bench_detector, detector_training
from vla_sim.core.detection import shards
from vla_sim.core.detection.augment import CANVAS, _placement, developed, moved
from vla_sim.core.detection.shards import VOCABULARY, StoredView, ViewRecipe, ViewStore, make_shards
from vla_sim.core.detection.stage import DetectorStage
from vla_sim.core.flat.things import RGB
from vla_sim.core.flat.views import CLASSES, THINGS, LabelledView, ViewMaker
from vla_sim.detector_training import SIZES, Options, train

RECIPE = ViewRecipe("train", 3, 2, 3, 2, 6)


def quiet(done: int, count: int) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("views")
    make_shards(path, RECIPE, quiet)
    yield path


# -- shards -------------------------------------------------------------------------------------------------------


def test_shards_hold_what_the_maker_drew(folder: Path) -> None:
    store, maker = ViewStore(folder), ViewMaker()
    views = [view for seed in (3, 4) for view in maker.draw(seed, "train", 3, 2, 6)]
    maker.close()
    views = [v for v in views if v.camera == "front"] + [v for v in views if v.camera == "wrist"]
    assert len(store) == len(views)
    for i, view in enumerate(views):
        kept = store[i]
        np.testing.assert_array_equal(kept.image, view.image)
        assert kept.camera == view.camera and [tuple(box) for box in kept.truth.boxes] == [x.box for x in view.labels]
        names = [CLASSES[k] for k in kept.truth.classes]
        colours = [VOCABULARY.colours[c] if c >= 0 else "" for c in kept.truth.colours]
        assert list(zip(names, colours, strict=True)) == [(x.name, x.colour) for x in view.labels]
        assert kept.truth.clear.tolist() == [x.clear for x in view.labels]


def test_what_is_there_is_not_made_again_and_what_broke_off_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ViewMaker", lambda: pytest.fail("everything is there"))
    make_shards(folder, RECIPE, quiet)
    monkeypatch.undo()
    (folder / "shard_0000").rename(folder / "shard_0000.partial")
    make_shards(folder, RECIPE, quiet)
    assert (folder / "shard_0000").is_dir() and not (folder / "shard_0000.partial").exists()


def test_views_of_another_recipe_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="another --out"):
        make_shards(folder, replace(RECIPE, front=9), quiet)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make them first"):
        ViewStore(tmp_path)


# -- augmentation -------------------------------------------------------------------------------------------------


def painted(camera: str) -> StoredView:
    """A grey picture with one red rectangle."""
    image = np.full((240, 320, 3) if camera == "front" else (224, 224, 3), 60, np.uint8)
    image[70:130, 80:150] = [250, 0, 0]
    truth = Truth(np.array([[80, 70, 150, 130]], np.float32), np.array([0]), np.array([2]), np.array([True]))
    return StoredView(camera, image, truth, np.array([60 * 70]))


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_boxes_go_where_the_pixels_go(camera: str) -> None:
    view, rng, checked = painted(camera), np.random.default_rng(0), 0
    for _ in range(40):
        matrix = _placement(camera, view.image.shape[:2], rng)
        picture = cv2.warpAffine(view.image, matrix, (CANVAS[1], CANVAS[0]), borderValue=(127,) * 3)
        truth = moved(view, matrix, (CANVAS[1], CANVAS[0]))
        rows, columns = np.nonzero(picture[..., 0].astype(int) - picture[..., 1] > 110)
        if len(truth) and truth.clear[0]:
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(truth.boxes[0], box, atol=1.01)
            checked += 1
    assert checked > 20


def test_what_is_cut_off_is_not_clear_any_more() -> None:
    view = painted("front")
    for left, clear in ((-100.0, True), (-135.0, False)):
        truth = moved(view, np.array([[1, 0, left], [0, 1, 0]], np.float32), (320, 240))
        assert truth.clear.tolist() == [clear]
    assert len(moved(view, np.array([[1, 0, -200], [0, 1, 0]], np.float32), (320, 240))) == 0


def test_colours_stay_what_they_are_called() -> None:
    """Under every light that is drawn: hues stay within 20 degrees, white stays pale and nothing else becomes so."""
    rng, names = np.random.default_rng(1), list(RGB)
    swatches = (np.array([RGB[name] for name in names]) * 200).astype(np.uint8)
    image = np.repeat(np.repeat(swatches[None], 32, 0), 32, 1)
    places = 32 * np.arange(len(names)) + 16
    before = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[16, places].astype(int)
    for _ in range(200):
        seen = cv2.cvtColor(cv2.medianBlur(developed(image, rng), 5), cv2.COLOR_RGB2HSV)[16, places].astype(int)
        for name, was, now in zip(names, before, seen, strict=True):
            if name == "white":
                assert now[1] < 90
            else:
                turned = 2 * abs((now[0] - was[0] + 90) % 180 - 90)  # OpenCV halves degrees
                assert turned < 20 and now[1] > 90, name


def test_batches_are_a_function_of_the_seed_and_hold_every_view(folder: Path) -> None:
    store = ViewStore(folder)
    small = NetworkConfig((4, 4, 4, 4, 4), (1, 1, 1, 1), 4, len(VOCABULARY.classes), len(VOCABULARY.colours))
    stage = DetectorStage(Network(small), store, 4, False)
    one, again = (next(stage.batches(np.random.default_rng(5))) for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, again[name])
    assert one["rgb"].shape == (4, *CANVAS, 3) and one["heat"].shape == (4, len(VOCABULARY.classes), 32, 40)
    assert all(np.isfinite(float(v.detach())) for v in stage.losses(one).values())


# -- the whole ----------------------------------------------------------------------------------------------------


def test_recipes_train_and_calibrate_on_training_flats_that_differ() -> None:
    views = detector_training.VIEWS
    seeds = {name: range(r.first_seed, r.first_seed + r.flats) for name, r in views.items()}
    assert views["train"].split == views["calibration"].split == "train"
    assert not set(seeds["train"]) & set(seeds["calibration"])
    assert {views[name].split for name in ("heldout_flat", "heldout_pair")} == {"heldout_flat", "heldout_pair"}


def test_training_breaks_off_goes_on_and_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted after half of its steps, it goes on there; the file is small, loads and says how it was made."""
    recipes = {name: replace(r, front=4, wrist=2) for name, r in detector_training.VIEWS.items()}
    monkeypatch.setattr(detector_training, "VIEWS", recipes)
    options = Options(tmp_path, 0.01, 600, batch=2, quick_views=2)
    plain = DetectorStage.losses
    steps: list[int] = []

    def interrupted(self: DetectorStage, batch: dict[str, np.ndarray]) -> dict[str, object]:
        steps.append(1)
        if len(steps) == 3:
            loops[0].stop = True  # as a signal does
        return plain(self, batch)

    loops: list[detector_training.ProgressLoop] = []
    begin = detector_training.ProgressLoop.run

    def run(self: detector_training.ProgressLoop) -> None:
        loops.insert(0, self)
        begin(self)

    monkeypatch.setattr(detector_training.ProgressLoop, "run", run)
    monkeypatch.setattr(DetectorStage, "losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(options)
    assert loops[0].step == 3 and not (tmp_path / "flat_detector.safetensors").exists()
    notes = train(options)
    assert [loop.config.name for loop in loops] == ["second_look", "detector", "detector"]
    assert loops[1].step == 6 and len(steps) == 6
    said = capsys.readouterr().out
    assert "resumed at step 3" in said and "100 %" in said and "| class | AP at IoU 0.5 |" in said
    assert FlatDetector(tmp_path / "interim.safetensors", backend="torch").metadata.training == {"interim": True}
    path = tmp_path / "flat_detector.safetensors"
    assert path.stat().st_size < 5_000_000
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["steps"] == notes["steps"] == 6
    detector = FlatDetector(path, 0.01)
    assert detector.metadata.training["views"]["train"] > 4
    assert detector.metadata.second_look is not None and detector.metadata.second_look.things == THINGS
    assert len(detector.classes) == 33 and detector.metadata.vocabulary.things == THINGS
    detector.detect(np.zeros((240, 320, 3), np.uint8))


def test_the_bench_scores_times_and_draws(tmp_path: Path) -> None:
    """With untrained weights: every figure is there, and the picture shows the boxes."""
    path = tmp_path / "d.safetensors"
    model = Network(SIZES).eval()
    save_detector(path, model, DetectorMetadata(VOCABULARY, SIZES, Calibration(), 0.01))
    report, shown = bench_detector.measure(FlatDetector(path, 0.005, "torch"), 1)
    said = bench_detector.markdown(report)
    assert "heldout_pair" in said and "p95" in said and "| class |" in said
    assert report["heldout_flat"]["images"] >= 10 and report["latency_ms"]["front"]["n"] == 18
    whole = bench_detector.sheet(shown)
    assert whole.dtype == np.uint8 and whole.shape[1:] == (2560, 3)
    box = Detected((10, 20, 60, 80), 0.5, np.eye(33, dtype=np.float32)[0], np.eye(6, dtype=np.float32)[1])
    view = LabelledView("front", np.zeros((240, 320, 3), np.uint8), ())
    drawn = bench_detector.drawn(view, [box], FlatDetector(path, 0.5, "torch"))
    assert (drawn[100, 20] == [230, 30, 30]).all() and not drawn[300, 400].any()
