"""Build of vla_sim."""

from setuptools import find_packages, setup

PACKAGE = "vla_sim"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Embedded MuJoCo worlds: robots, cameras, tasks, scripted experts.",
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
            "sim_node = vla_sim.sim_node:main",
            "camera_node = vla_sim.camera_node:main",
            "expert_node = vla_sim.expert_node:main",
        ],
    },
)
