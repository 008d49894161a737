"""Build of vla_policy."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "vla_policy"


def tree(source: str, target: str) -> list[tuple[str, list[str]]]:
    """Files below `source` as data_files entries under share/<package>/<target>, sub-folders kept."""
    files = [p for p in sorted(Path(source).rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    folders = sorted({p.parent for p in files})
    share = Path("share", PACKAGE, target)
    return [(str(share / d.relative_to(source)), [str(p) for p in files if p.parent == d]) for d in folders]


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Stage 2: vision-language-action policies, their backends, serving and training.",
    license="Apache-2.0",
    maintainer="VLA stack maintainers",
    maintainer_email="maintainers@vla-stack.org",
    packages=find_packages(include=[PACKAGE, PACKAGE + ".*"]),
    package_data={"": ["py.typed", "parameters/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        *tree("weights", "weights"),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # what makes `colcon test` run pytest
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "policy_node = vla_policy.policy_node:main",
        ],
    },
)
