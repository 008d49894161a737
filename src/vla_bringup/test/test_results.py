"""Published tables and the statistics in them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_bringup import machine
from vla_bringup.commands import eval as evaluation
from vla_bringup.core.scores import Score
from vla_bringup.results import KEYS, markdown_table, publish, render, save, table
from vla_bringup.statistics import quantiles, rounded, spread, wilson
from vla_core.errors import ConfigError
from vla_core.files import workspace_root


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (190, 200, 0.9104, 0.9726)],
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_rate_and_mirrors(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0.0 <= low <= successes / n + 1e-12 and successes / n - 1e-12 <= high <= 1.0
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


def test_quantiles_and_spread() -> None:
    values = list(range(1, 101))
    assert quantiles(values) == {"p50": 50.5, "p95": 95.05, "p99": 99.01}
    assert spread(values) == {"n": 100, "p50": 50.5, "p95": 95.05, "p99": 99.01, "max": 100.0}
    assert spread([]) == {"n": 0, "p50": None, "p95": None, "p99": None, "max": None}
    assert rounded(0.000123456) == 0.0001235


def test_publish_writes_the_file_and_the_page(tmp_path: Path) -> None:
    rows = [{"policy": "a", "success": 0.95, "ci_low": None}, {"policy": "b", "success": 1.0, "n": 3}]
    path = publish("suite", table("./vla eval --publish", rows), tmp_path)
    content = json.loads(path.read_text())
    assert tuple(content) == KEYS and content["rows"] == rows
    assert content["machine"] == machine.describe()
    page = (tmp_path / "results.md").read_text()
    assert "## suite\n\n`./vla eval --publish`" in page and machine.sentence(content["machine"]) in page
    assert "| policy | success | ci_low | n |\n|---|---|---|---|\n| a | 0.95 | – | – |\n| b | 1 | – | 3 |" in page


def test_cells_cannot_break_the_table() -> None:
    assert markdown_table([{"a": "x|y"}]).endswith("| x\\|y |")


def test_publishing_plays_every_part_once_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (evaluation.Part("a", "heldout_pose", 2), evaluation.Part("a", "heldout_pose", 1, graph=True))
    played, written = [], []

    def play(part: evaluation.Part, args: argparse.Namespace) -> list[Score]:
        played.append(part)
        if len(played) == 2:
            raise KeyboardInterrupt
        return [Score(1, "pick", "lift it", part.graph, (1.0,))] * part.episodes

    monkeypatch.setattr(evaluation, "PUBLISHED", {"tabletop": parts})
    monkeypatch.setattr(evaluation.machine, "revision", lambda: "abc")
    monkeypatch.setattr(evaluation, "_play", play)
    monkeypatch.setattr(evaluation, "publish", lambda name, content: written.append((name, content)))
    parser = argparse.ArgumentParser()
    evaluation.add_arguments(parser)
    args = parser.parse_args(["--publish"])
    args.out = tmp_path
    with pytest.raises(KeyboardInterrupt):
        evaluation.run(args)
    assert not written
    assert evaluation.run(args) == 0
    assert played == [parts[0], parts[1], parts[1]], "the first part is kept"
    args.seed += 1
    assert evaluation.run(args) == 0 and len(played) == 5, "other episodes"
    monkeypatch.setattr(evaluation.machine, "revision", lambda: "abc-dirty")
    assert evaluation.run(args) == 0 and evaluation.run(args) == 0
    assert len(played) == 9, "of uncommitted code nothing is kept"
    (name, content), rows = written[0], written[0][1]["rows"]
    assert name == "tabletop" and content["command"] == "./vla eval --suite tabletop --publish"
    assert [(r["policy"], r["task"], r["episodes"], r["success"]) for r in rows] == [
        ("a", "pick", 2, 0.0),
        ("a", "all", 2, 0.0),
        ("a (node graph)", "pick", 1, 1.0),
        ("a (node graph)", "all", 1, 1.0),
    ]


@pytest.mark.parametrize("content", ['{"rows": []}', "no json"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ConfigError, match=r"got bad.json.*fix: run its command again"):
        render(tmp_path)


def test_the_published_page_shows_the_published_tables() -> None:
    docs = workspace_root() / "docs"
    assert (docs / "results.md").read_text(encoding="utf-8") == render(docs / "results")


def test_numbers_that_are_not_finite_never_reach_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save(tmp_path, "bad", {"x": float("nan")})
    assert not (tmp_path / "bad.json").exists()


def test_machine_from_proc(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name : Fast CPU @ 3 GHz\n")
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\n")
    found = machine.describe(tmp_path)
    assert (found["cpu"], found["ram_gib"]) == ("Fast CPU @ 3 GHz", 8.0) and "gpu" not in found
    folder = tmp_path / "driver/nvidia/gpus/0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: Big GPU\n")
    assert machine.sentence(machine.describe(tmp_path)).endswith("8.0 GiB, Big GPU")
