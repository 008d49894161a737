"""Build of vla_navigation."""

from setuptools import find_packages, setup

PACKAGE = "vla_navigation"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Mission: an instruction becomes sub-goals; SLAM, exploration, approach, semantic map.",
    license="Apache-2.0",
    maintainer="VLA stack maintainers",
    maintainer_email="maintainers@vla-stack.org",
    packages=find_packages(include=[PACKAGE, PACKAGE + ".*"]),
    package_data={"": ["py.typed", "parameters/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # what makes `colcon test` run pytest
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "mission_node = vla_navigation.mission_node:main",
            "slam_node = vla_navigation.slam_node:main",
            "navigator_node = vla_navigation.navigator_node:main",
            "explorer_node = vla_navigation.explorer_node:main",
            "fetch_node = vla_navigation.fetch_node:main",
            "semantic_map_node = vla_navigation.semantic_map_node:main",
        ],
    },
)
