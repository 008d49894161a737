"""The `vla` commands as a user types them: help, exit codes, sentences, result.json."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from vla_bringup import cli
from vla_bringup.cli import COMMANDS, main, parse
from vla_bringup.commands import demo
from vla_bringup.core.scores import Score, rows
from vla_bringup.core.summary import Span
from vla_bringup.session import MissionResult
from vla_bringup.statistics import wilson
from vla_bringup.watched import Run
from vla_core.files import config_path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_output_folder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse([name, "--help"])
    assert end.value.code == 0 and "--out" in capsys.readouterr().out
    assert importlib.import_module(f"vla_bringup.commands.{name}").__doc__.startswith(f"`vla {name}")


def test_unknown_command_and_option_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["dance"], ["demo", "--sede", "3"]):
        with pytest.raises(SystemExit) as end:
            parse(words)
        assert end.value.code == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err


BAD_WORDS = {
    "unknown policy": (["demo", "--policy", "nope"], "unknown_name", "got policy 'nope'; expected one of: "),
    "unknown scene": (["demo", "--scene", "moon"], "unknown_name", "got scene 'moon'; expected one of: "),
    "unknown object": (["demo", "--instruction", "peel the banana"], "unknown_object", "got instruction 'peel the ban"),
    "unknown suite": (["eval", "--suite", "moon"], "unknown_name", "got suite 'moon'; expected one of: aloha, "),
    "unknown split": (["eval", "--split", "x"], "unknown_name", "got split 'x'; expected one of: heldout_pair"),
    "no episodes": (["eval", "--episodes", "0"], "config", "got 0 episodes; expected at least 1"),
    "unknown strategy": (["eval", "--strategy", "x"], "unknown_name", "got strategy 'x'; expected one of: a2c2, "),
    "more jitter than delay": (["eval", "--delay-ms", "5", "--jitter-ms", "9"], "config", "got a jitter of 9 ms; exp"),
    "delays in the graph": (["eval", "--graph", "--delay-ms", "9"], "config", "got --graph with delays; expected on"),
    "no such table": (["eval", "--suite", "turntable", "--publish"], "config", "got --publish of suite 'turntable'"),
    "unknown task": (["bench", "executor", "--task", "x"], "unknown_name", "got task 'x'; expected one of: tabletop"),
    "a part published": (["bench", "executor", "--quick", "--publish"], "config", "got --quick with --publish; expec"),
    "some faults published": (
        ["bench", "faults", "--only", "robot hangs", "--publish"],
        "config",
        "got --only with",
    ),
    "unknown strategy of a graph": (
        ["demo", "--strategy", "x"],
        "unknown_name",
        "got strategy 'x'; expected one of: a",
    ),
    "unknown benchmark": (["bench", "moon"], "unknown_name", "got benchmark 'moon'; expected one of: "),
}


@pytest.mark.parametrize(("words", "code", "begin"), BAD_WORDS.values(), ids=BAD_WORDS)
def test_a_mistake_gives_one_sentence_and_exit_code_2(
    words: list[str], code: str, begin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ERROR {code}: {begin}") and "; fix: " in line
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["success"] is False and result["error_code"] == code and f"ERROR {code}: {result['message']}" == line


def test_a_policy_without_weights_says_how_to_make_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: a node died of it, with the advice to check the robot file."""
    preset = tmp_path / "mine.yaml"
    shipped = config_path("policies", "tabletop_flow").read_text()
    preset.write_text(shipped.replace("tabletop_flow", "mine"))
    assert main(["demo", "--policy", str(preset), "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR weights: got policy 'mine' without its weight file; expected a file such as ")
    assert line.endswith("fix: make it by ./vla train --policy mine --out DIR and copy DIR/mine.safetensors there")


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(_args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", lambda _: (argparse.Namespace(out=tmp_path), SimpleNamespace(run=run)))
    assert main(["demo"]) == 130


def test_result_of_the_demo_has_exactly_the_promised_keys() -> None:
    summary = dict.fromkeys(demo.KEYS[2:14])
    truth = {"success": False, "max_contact_force_n": 12.3456}
    mission = MissionResult(True, "", "carried out", 0.9, 3.0, 0.2)
    done = Run(mission, truth, summary, 0.5, Span(0, 1, 0, 1), [])
    result = demo._result(done, "open the drawer", argparse.Namespace(seed=3, policy="p"))
    assert tuple(result) == demo.KEYS
    assert (result["success"], result["reported_success"]) == (False, True), "the judge decides, not the stack"
    assert (result["max_contact_force_n"], result["seed"], result["policy"]) == (12.35, 3, "p")


def test_score_rows_per_family_and_over_all() -> None:
    scores = [Score(i, "pick" if i < 3 else "push", "do it", i != 1, (10.0 * i,)) for i in range(5)]
    made = rows("p", "heldout_pose", scores)
    assert [(r["task"], r["episodes"], r["success"]) for r in made] == [
        ("pick", 3, 0.6667),
        ("push", 2, 1.0),
        ("all", 5, 0.8),
    ]
    assert (made[-1]["ci_low"], made[-1]["ci_high"]) == pytest.approx(wilson(4, 5), abs=1e-4)
    assert made[-1]["ms_per_chunk_p50"] == 20.0
