"""Build of vla_perception."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "vla_perception"
WEIGHTS = [str(path) for path in sorted(Path("weights").glob("*")) if path.is_file()]

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Stage 1: camera frames and joint states become one time-aligned observation.",
    license="Apache-2.0",
    maintainer="VLA stack maintainers",
    maintainer_email="maintainers@vla-stack.org",
    packages=find_packages(include=[PACKAGE, PACKAGE + ".*"]),
    package_data={"": ["py.typed", "parameters/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/weights", WEIGHTS),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # what makes `colcon test` run pytest
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "observation_node = vla_perception.observation_node:main",
        ],
    },
)
