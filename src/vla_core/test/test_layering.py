"""The rules of the house that a reader relies on: core is ROS-free, files stay small, manifests tell the truth."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SRC = ROOT / "src"
MAX_LINES = 400
PACKAGES = sorted(path.parent.name for path in SRC.glob("*/setup.py"))
ROS_MODULES = {"rclpy", "launch", "launch_ros", "builtin_interfaces", "ament_index_python", "tf2_ros", "rosbag2_py"}
# Import name → where package.xml names it: the rosdep key, or (not in rosdep) the name on PyPI, in a comment.
SUPPLIERS = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "hypothesis": "python3-hypothesis",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "packaging": "python3-packaging",
    "psutil": "python3-psutil",
    "pytest": "python3-pytest",
    "scipy": "python3-scipy",
    "setuptools": "python3-setuptools",
    "yaml": "python3-yaml",
    "pinocchio": "pin",
}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def is_ros(name: str) -> bool:
    """Whether a module comes with ROS (client library, launch, messages)."""
    return name in ROS_MODULES or name.endswith(("_msgs", "_srvs", "_interfaces"))


def ros_imports(path: Path) -> list[str]:
    """What a core file must not have."""
    return [f"{path.name}:{line} imports {name}" for line, name in imported(path) if is_ros(name) or name == "vla_ros"]


def core_files() -> list[Path]:
    """Files of vla_core and of every core/ folder."""
    folders = [SRC / "vla_core" / "vla_core", *(path for path in SRC.glob("*/*/**/core") if path.is_dir())]
    folders += [path for path in SRC.glob("*/*/core") if path.is_dir()]
    return sorted({path for folder in folders for path in folder.rglob("*.py")})


@pytest.mark.parametrize("path", core_files(), ids=lambda path: str(path.relative_to(SRC)))
def test_core_is_free_of_ros(path: Path) -> None:
    assert ros_imports(path) == []


@pytest.mark.parametrize(
    "line",
    ["import rclpy", "from vla_msgs.msg import Observation", "def f():\n    import sensor_msgs.msg", "import vla_ros"],
)
def test_the_layering_check_finds_a_ros_import(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(line)
    assert len(ros_imports(path)) == 1


def test_core_files_are_found() -> None:
    assert {"errors.py", "contract.py"} <= {path.name for path in core_files()}


def test_no_python_file_is_longer_than_two_ideas() -> None:
    files = [*ROOT.glob("*.py"), *(path for top in ("src", "launch", "test") for path in (ROOT / top).rglob("*.py"))]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_manifest_names_every_dependency(package: str) -> None:
    """An import that package.xml doesn't name breaks `rosdep install` and colcon's build order."""
    manifest = (SRC / package / "package.xml").read_text(encoding="utf-8")
    # An import under `if TYPE_CHECKING` counts too: mypy needs the module.
    names = {name for path in (SRC / package / package).rglob("*.py") for _, name in imported(path)}
    names -= {package, *sys.stdlib_module_names}
    words = set(re.findall(r"[\w.-]+", manifest))
    missing = {name for name in names if not {SUPPLIERS.get(name, name), name.replace("_", "-")} & words}
    assert sorted(missing) == [], f"name them in src/{package}/package.xml"


@pytest.mark.parametrize("package", PACKAGES)
def test_manifest_names_nothing_unused(package: str) -> None:
    manifest = (SRC / package / "package.xml").read_text(encoding="utf-8")
    named = set(re.findall(r"<exec_depend>(\S+)</exec_depend>", manifest))
    files = [p for folder in (package, "launch", "test") for p in (SRC / package / folder).rglob("*.py")]
    files += (ROOT / "launch").glob("*.py") if package == "vla_bringup" else []
    used = {SUPPLIERS.get(name, name) for path in files for _, name in imported(path)}
    # vla_bringup starts programs of these by name, and the robots' files are found by path.
    by_name = {*PACKAGES, "ros2launch", "rviz2"} if package == "vla_bringup" else {"vla_description"}
    assert sorted(named - used - by_name) == [], f"remove them from src/{package}/package.xml"


@pytest.mark.parametrize("package", PACKAGES)
def test_colcon_runs_pytest(package: str) -> None:
    """Regression guard: setuptools drops `tests_require`, and `colcon test` then runs no test and reports success."""
    setup = (SRC / package / "setup.py").read_text(encoding="utf-8")
    assert 'extras_require={"test": ["pytest"]}' in setup and "tests_require" not in setup


@pytest.mark.parametrize("package", PACKAGES)
def test_entry_points_exist(package: str) -> None:
    """`ros2 run` and launch start nodes through setup.py's entry points."""
    setup = (SRC / package / "setup.py").read_text(encoding="utf-8")
    for module, function in re.findall(r'"\w+ = ([\w.]+):(\w+)"', setup):
        path = (SRC / package / module.replace(".", "/")).with_suffix(".py")
        assert path.is_file(), f"{module} in src/{package}/setup.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
