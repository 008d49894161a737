"""Build of vla_ros."""

from setuptools import find_packages, setup

PACKAGE = "vla_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Thin rclpy helpers: run a node, quality of service from one table, declared parameters.",
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
)
