"""Build of vla_control."""

from setuptools import find_packages, setup

PACKAGE = "vla_control"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Stages 3 and 4: chunk executor, servo process, safety monitor.",
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
            "base_node = vla_control.base_node:main",
            "executor_node = vla_control.executor_node:main",
            "servo_node = vla_control.servo_node:main",
            "safety_monitor_node = vla_control.safety_monitor_node:main",
        ],
    },
)
