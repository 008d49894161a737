"""Set-up: which interpreter, which ROS, what the machine lacks; decided from a fake environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_bringup.setup.interfaces import colcon_arguments, message_packages
from vla_bringup.setup.interpreter import SUPPORTED, Interpreter, candidates, choose
from vla_bringup.setup.ros import RosInstallation, find_installation
from vla_bringup.setup.system import missing_drawing, missing_tools, require_tools
from vla_core.errors import SetupError

FOUND = {
    "/a/python3.11": Interpreter("/a/python3.11", "3.11", True, True),
    "/a/python3.12": Interpreter("/a/python3.12", "3.12", True, True),
    "/b/python3.11": Interpreter("/b/python3.11", "3.11", False, True),
    "/a/python3.9": Interpreter("/a/python3.9", "3.9", True, True),
}


def test_311_is_preferred_over_312() -> None:
    assert choose(["/a/python3.12", "/a/python3.11"], ask=FOUND.get).path == "/a/python3.11"


def test_an_incomplete_or_broken_interpreter_is_passed_over() -> None:
    assert choose(["/broken", "/b/python3.11", "/a/python3.12"], ask=FOUND.get).path == "/a/python3.12"


def test_ros_decides_the_version() -> None:
    assert choose(list(FOUND), ("3.12",), FOUND.get).version == "3.12"


def test_310_is_used_where_there_is_nothing_newer() -> None:
    """It is Humble's Python, and its packages are the oldest."""
    old = Interpreter("/a/python3.10", "3.10", True, True)
    found = {**FOUND, "/a/python3.10": old}
    assert choose(["/a/python3.10", "/a/python3.12"], ask=found.get).version == "3.12"
    assert choose(["/a/python3.10"], ask=found.get) == old


def test_incomplete_python_names_the_debian_package() -> None:
    with pytest.raises(SetupError, match=r"apt-get install python3\.11-venv"):
        choose(["/b/python3.11"], ask=FOUND.get)


def test_no_usable_python_names_what_was_found() -> None:
    with pytest.raises(SetupError, match=r"got Python 3\.9; expected Python 3\.11 or 3\.12"):
        choose(["/a/python3.9"], ask=FOUND.get)


def test_candidates_follow_path_and_preference(tmp_path: Path) -> None:
    for folder, name in (("x", "python3.12"), ("y", "python3.11"), ("y", "python3"), ("x", "python3.11")):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o755)
    found = candidates({"PATH": f"{tmp_path / 'x'}:{tmp_path / 'y'}:"})
    names = ["x/python3.11", "y/python3.11", "x/python3.12", "y/python3"]
    assert found == [str(tmp_path / name) for name in names]
    assert candidates({"PATH": "/bin", "VLA_PYTHON": "/mine"}) == ["/mine"]


def test_no_ros_without_ros_distro(tmp_path: Path) -> None:
    assert find_installation({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, tmp_path) is None


def _fake_ros(tmp_path: Path) -> dict[str, str]:
    prefix = tmp_path / "opt" / "ros" / "jazzy"
    (prefix / "lib" / "python3.12" / "site-packages" / "rclpy").mkdir(parents=True)
    (prefix / "share" / "tf2_msgs").mkdir(parents=True)
    (prefix / "share" / "tf2_msgs" / "package.xml").touch()
    return {"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": f"{tmp_path}/checkout/install/vla_msgs:{prefix}"}


def test_sourced_ros_is_found_with_its_python(tmp_path: Path) -> None:
    ros = find_installation(_fake_ros(tmp_path), tmp_path / "checkout")
    assert ros == RosInstallation("jazzy", (tmp_path / "opt" / "ros" / "jazzy",), "3.12")


def test_humble_is_found_where_debian_puts_modules(tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "ros" / "humble"
    (prefix / "local" / "lib" / "python3.10" / "dist-packages" / "rclpy").mkdir(parents=True)
    environ = {"ROS_DISTRO": "humble", "AMENT_PREFIX_PATH": str(prefix)}
    ros = find_installation(environ, tmp_path / "checkout")
    assert ros == RosInstallation("humble", (prefix,), "3.10")
    assert ros.python in SUPPORTED


def test_our_own_wheels_are_no_installation(tmp_path: Path) -> None:
    """ROS_DISTRO left in a container's environment must not make the wheels pass for an installed ROS."""
    environ = _fake_ros(tmp_path)
    with pytest.raises(SetupError, match=r"source /opt/ros/jazzy/setup\.bash, or unset ROS_DISTRO"):
        find_installation(environ, tmp_path)


def test_compat_packages_are_built_only_where_ros_lacks_them(tmp_path: Path) -> None:
    ros = find_installation(_fake_ros(tmp_path), tmp_path / "checkout")
    src = Path(__file__).resolve().parents[2]
    assert "tf2_msgs" in message_packages(src, None)
    assert "tf2_msgs" not in message_packages(src, ros)
    assert "vla_msgs" in message_packages(src, ros)


def test_whole_workspace_is_built_on_ros_and_messages_alone_with_wheels(tmp_path: Path) -> None:
    ros = find_installation(_fake_ros(tmp_path), tmp_path / "checkout")
    src = Path(__file__).resolve().parents[2]
    assert "vla_control" in colcon_arguments(src, ros, Path("/v/bin/python"))
    assert "vla_control" not in colcon_arguments(src, None, Path("/v/bin/python"))


def test_colcon_never_sees_what_the_installation_ships(tmp_path: Path) -> None:
    """Regression guard: an unselected package is looked for in `install/`, and the build fails where it isn't found."""
    ros = find_installation(_fake_ros(tmp_path), tmp_path / "checkout")
    src = Path(__file__).resolve().parents[2]
    arguments = colcon_arguments(src, ros, Path("/v/bin/python"))
    assert arguments.count("tf2_msgs") == 1
    assert arguments[arguments.index("tf2_msgs") - 1] == "--packages-ignore"
    assert "--packages-ignore" not in colcon_arguments(src, None, Path("/v/bin/python"))


def test_missing_build_tools_are_named_with_the_command() -> None:
    assert missing_tools(lambda name: "/usr/bin/" + name) == {}
    with pytest.raises(SetupError, match=r"no cmake, no a C\+\+ compiler.*apt-get install cmake g\+\+"):
        require_tools({"make": "/usr/bin/make"}.get)


def test_missing_drawing_libraries(tmp_path: Path) -> None:
    everything = missing_drawing(lambda _: None, tmp_path)
    assert set(everything.values()) == {"libegl1", "libopengl0", "libegl-mesa0", "libgl1-mesa-dri"}
    vendors = tmp_path / "usr/share/glvnd/egl_vendor.d"
    vendors.mkdir(parents=True)
    (vendors / "10_nvidia.json").touch()
    assert missing_drawing(lambda name: name, tmp_path) == {}
    (vendors / "10_nvidia.json").rename(vendors / "50_mesa.json")
    assert set(missing_drawing(lambda name: name, tmp_path).values()) == {"libgl1-mesa-dri"}
    (tmp_path / "usr/lib/x86_64-linux-gnu/dri").mkdir(parents=True)
    (tmp_path / "usr/lib/x86_64-linux-gnu/dri/swrast_dri.so").touch()
    assert missing_drawing(lambda name: name, tmp_path) == {}
