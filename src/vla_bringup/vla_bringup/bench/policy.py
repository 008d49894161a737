"""`vla bench policy`: how long policies think about one chunk, on so many cores of a CPU, and pi0 on a GPU.

Every preset is timed by torch, and by OpenVINO where it can be recorded (core/recorded.py); then the node runs it so.
Of systems that say words before they act, only what follows is OpenVINO's; the eyes are in every row. A preset without
a weight file is timed with random weights: time doesn't depend on them, except where a policy says as many words as it
likes. The GPU's part runs without ROS (pi0_size.py), and its rows can be added from another machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_bringup.statistics import rounded, spread
from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import asset_path, workspace_root
from vla_core.types import NS, Observation
from vla_policy.core.policy import Policy, load_policy
from vla_policy.core.preset import SYSTEM, Preset, load_preset

#: `docs/results/<this>.json`.
TABLE = "policy_latency"
CONTRACT, SHIPPED = "tabletop_panda", "keypoint_flow"
INSTRUCTION = "put the red cube in the blue bowl"
TORCH, OPENVINO = "torch", "OpenVINO"
#: Of `load_policy`, by the table's `way`.
BACKENDS = {TORCH: "torch", OPENVINO: "openvino"}
WARM_UP, OBSERVATIONS = 3, 8
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench policy`."""
    parser.add_argument("--policy", default="", help="only these presets, separated by commas")
    parser.add_argument("--chunks", type=int, default=100, help="timed per row (default 100)")
    parser.add_argument("--cores", default="1,2", help="CPU cores to run on, separated by commas (default 1,2)")
    parser.add_argument("--add", type=Path, help="rows measured elsewhere, such as those of pi0_size.py on a GPU")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again; of what is published, always the whole table."""
    words = ["--chunks", str(args.chunks), "--cores", args.cores]
    return words + (["--policy", args.policy] if args.policy and not args.publish else [])


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Rows of `docs/results/policy_latency.json`; those of presets, ways or machines that aren't measured now stay.

    Raises:
        UnknownNameError: no such preset.
        ConfigError: more cores than there are.
        VlaError: a preset that can't be loaded.
    """
    names = args.policy.split(",") if args.policy else timed()
    unknown = [name for name in names if name not in timed()]
    if unknown:
        raise UnknownNameError("policy", unknown[0], timed())
    rows = []
    for cores in map(int, args.cores.split(",")):
        available = len(os.sched_getaffinity(0))
        if cores > available:
            raise ConfigError(f"--cores {cores}", f"at most {available}", "lessen --cores")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _on_cores, (cores,)) as worker:
            for name in names:
                for row in worker.submit(time_preset, name, cores, args.chunks).result():
                    rows.append(row)
                    say(f"{name}, {row['device']}, {row['way']}: {row['p50']} ms")
    if torch.cuda.is_available() and not args.policy:
        from vla_bringup.bench import pi0_size

        rows += pi0_size.measure(
            pi0_size.SIZES, list(pi0_size.WAYS), args.chunks, torch.device("cuda"), torch.bfloat16, say
        )
    if args.add:
        rows += json.loads(args.add.read_text(encoding="utf-8"))["rows"]
    return merged(_published(), rows) if args.publish else rows


def timed() -> list[str]:
    """The shipped policy and every preset of a system, for the tabletop's contract."""
    presets = map(load_preset, sorted(path.stem for path in (workspace_root() / "config" / "policies").glob("*.yaml")))
    return [p.name for p in presets if p.contract == CONTRACT and p.policy in (SYSTEM, SHIPPED)]


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The new rows in the places of old ones of the same policy, device and way, and the other old ones."""
    by_place = {(row["device"], row["policy"], row["way"]): row for row in (*old, *new)}
    return [by_place[key] for key in sorted(by_place)]


def time_preset(name: str, cores: int, chunks: int) -> list[Row]:
    """A row per way: from an observation to its chunk, eyes and all, on the cores of this process.

    The ways take turns, so that whatever else the machine does meets all of them.
    """
    preset, contract = load_preset(name), load_contract(CONTRACT)
    trained = preset.has_weights()
    policies = ways(load_policy(name, contract) if trained else untrained(preset, contract), name)
    seen, times = observations(contract), {way: list[float]() for way in policies}
    for i in range(WARM_UP + chunks):
        observation = replace(seen[i % len(seen)], stamp_ns=(i + 1) * NS // 5)
        for way, policy in policies.items():
            begin = time.perf_counter_ns()
            policy.predict(observation, i)
            if i >= WARM_UP:
                times[way].append(1e-6 * (time.perf_counter_ns() - begin))
    row = {"policy": name, "device": f"CPU, {cores} core{'s' if cores > 1 else ''}"}
    row |= {"weights": "trained" if trained else "random", **_parts(policies[TORCH], seen)}
    return [{**row, "way": way, "unit": "ms", **spread(found)} for way, found in times.items()]


def ways(policy: Policy, name: str) -> dict[str, Policy]:
    """One policy by torch, and by OpenVINO where it can run so: then 'auto' does."""
    from vla_policy.core.system_policy import SystemPolicy

    if not isinstance(policy, SystemPolicy):
        contract = load_contract(CONTRACT)
        return {way: load_policy(name, contract, backend) for way, backend in BACKENDS.items()}
    parts = policy.name, policy.contract, policy.eyes, policy.system
    backends = BACKENDS.items() if policy.system.recordable else [(TORCH, "torch")]
    return {way: SystemPolicy(*parts, backend) for way, backend in backends}


def untrained(preset: Preset, contract: Contract) -> Policy:
    """A system's preset with random weights, fitted to random chunks."""
    from vla_policy.core.eyes import Eyes
    from vla_policy.core.system_policy import SystemPolicy
    from vla_policy.core.systems.catalogue import make_system
    from vla_policy.core.systems.sizes import Fitting
    from vla_policy.training.scene_texts import all_questions, all_texts

    torch.manual_seed(0)
    eyes = Eyes.load(preset.model["eyes"], contract)
    system = make_system(replace(preset, model=_without_missing(preset.model)), eyes.sizes)
    eyes.provide(system.needs)
    sizes = eyes.sizes
    chunks = torch.randn(2000, sizes.horizon, sizes.action_width).cumsum(1) / sizes.horizon
    texts = (*all_questions(eyes.names), *all_texts(eyes.names))
    system.fit(Fitting(chunks, eyes.queries, texts))
    return SystemPolicy(preset.name, contract, eyes, system)


def observations(contract: Contract) -> list[Observation]:
    """Random pictures over a table, the tool above it."""
    rng = np.random.default_rng(0)
    state = np.zeros(len(contract.state_names), np.float32)
    state[contract.state_slice("tool_pose")] = (0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0)
    views = np.ones(len(contract.view_names), np.bool_)
    return [
        Observation(
            0, INSTRUCTION, contract.hash, contract.view_names, views,
            rng.integers(0, 256, contract.rgb_shape, np.uint8), contract.state_names, state,
        )
        for _ in range(OBSERVATIONS)
    ]  # fmt: skip


def _on_cores(cores: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)


def _without_missing(section: dict[str, Any]) -> dict[str, Any]:
    """A preset's section without weight files to start from that aren't there."""
    kept = {}
    for key, value in section.items():
        if key == "start" and value and not _exists(value):
            continue
        kept[key] = _without_missing(value) if isinstance(value, dict) else value
    return kept


def _exists(asset: str) -> bool:
    try:
        return asset_path(asset).is_file()
    except ConfigError:
        return False


def _parts(policy: Policy, seen: Sequence[Observation]) -> Row:
    """Of a system: what its frozen eyes take [ms], its own millions of parameters, and its repeated part's passes."""
    from vla_policy.core.system_policy import SystemPolicy

    if not isinstance(policy, SystemPolicy):
        return {"eyes": None, "parameters_m": None, "passes": None}
    system, times = policy.system, []
    for observation in seen:
        begin = time.perf_counter_ns()
        sight, _ = policy.eyes.observe(observation)
        times.append(1e-6 * (time.perf_counter_ns() - begin))
    noise = torch.zeros(1, system.sizes.horizon, system.sizes.action_width)
    with torch.no_grad():
        passes = system.draw(sight.repeated(system.history), noise).passes
    parameters_m = rounded(sum(p.numel() for p in system.parameters()) / 1e6)
    return {"eyes": rounded(float(np.median(times))), "parameters_m": parameters_m, "passes": passes}


def _published() -> list[Row]:
    path = workspace_root() / "docs" / "results" / f"{TABLE}.json"
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return rows
