"""What the pages promise is true: generated parts are up to date, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess

import pytest

from vla_bringup import docs
from vla_bringup.faults.page import page as faults_page
from vla_bringup.systems_page import page as systems_page
from vla_core.files import workspace_root
from vla_ros.docs import parameter_reference

ROOT = workspace_root()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FIX = "run ./vla python -m vla_bringup.docs"


def test_readme_holds_the_straight_line_table_of_the_code() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8") == docs.readme(), FIX


def test_parameter_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8") == parameter_reference(), FIX


def test_page_of_faults_is_up_to_date() -> None:
    assert (ROOT / "docs" / "faults.md").read_text(encoding="utf-8") == faults_page(), FIX


def test_page_of_systems_is_up_to_date() -> None:
    assert (ROOT / "docs" / "systems.md").read_text(encoding="utf-8") == systems_page(), FIX


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_files_named_on_a_page_exist(page) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"`((?:src|config|docs|test|launch)/[\w./-]+\.\w+)`", text)
    assert not missing + [name for name in named if not (ROOT / name).exists()]


def test_every_command_on_the_readme_is_known() -> None:
    usage = subprocess.run([ROOT / "vla", "help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  (\w+) ", usage, re.MULTILINE))
    used = {word for page in PAGES for word in re.findall(r"\./vla (\w+)", page.read_text(encoding="utf-8"))}
    assert used <= known
