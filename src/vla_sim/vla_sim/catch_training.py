"""Trains a TargetFlow policy on the turntable's expert, without physics: `./vla train --policy turntable_flow`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_core.contract import Contract, load_contract
from vla_core.types import Float32, Float64
from vla_policy.core.drawing.future_state import Gripper
from vla_policy.core.models.target_flow import TargetFlow, configure
from vla_policy.core.preset import Preset, parse
from vla_policy.core.processors import action_transform
from vla_policy.core.target_policy import TargetTraining
from vla_policy.core.weights import Metadata, save_weights
from vla_policy.training.dataset import Batch
from vla_policy.training.target_stages import (
    CorrectorStage,
    FlowStage,
    TargetStageConfig,
    fit_normalisation,
    sample_chunks,
)
from vla_policy.training.trainer import Loop, LoopConfig
from vla_sim.core import catch_expert as expert
from vla_sim.core.scene_parts import load_scene

_BASES = 20000  # chunks of the flow head that the corrector learns from
_TILT = 0.01  # the tool is never exactly upright
LOSSES = {"losses": {"flow": 1.0, "l1": 1.0, "l1_before": 0.0}}
_OFF_COURSE_M = 0.004  # how far the arm lies beside its chunk


class CatchData:
    """Draws training rows from the states that disturbed experts come through."""

    def __init__(
        self, contract: Contract, scene: dict[str, Any], gripper: Gripper, starts: int, steps: int, seed: int
    ) -> None:
        self.contract, self._tracker, self._gripper = contract, scene["tracker"], gripper
        self.centre: Float64 = np.array(scene["turntable"]["centre_m"])
        rng = np.random.default_rng(seed)
        self.pool = expert.visited(rng, starts, steps, scene["turntable"], contract.dt_s)

    def flow_rows(self, rng: np.random.Generator, count: int, longest_offset: int, longest_given: int) -> Batch:
        """States and chunks.

        In half of the rows the tool is up to `longest_offset` steps ahead of what is seen of the cylinders, where a
        chunk of the expert leads, and the gripper where that would bring it with nothing between the fingers (VLASH:
        nobody knows yet). In half of them up to `longest_given` steps are given. Those were planned in error, as the
        steps in execution may have been by the time they are continued; with perfect ones a policy learns to go on
        with them and to look no more.
        """
        dt_s, horizon, centre = self.contract.dt_s, self.contract.horizon, self.centre
        seen = expert.choose(self.pool[rng.integers(len(self.pool), size=count)], rng)
        given = rng.integers(0, longest_given + 1, count) * (rng.random(count) < 0.5)
        offset = rng.integers(0, longest_offset + 1, count) * (rng.random(count) < 0.5)
        plan = expert.chunks(
            seen, longest_offset + 1, dt_s, centre, expert.random_drift(rng, count, longest_offset + 1)
        )
        states = expert.choose(expert.follow(seen, plan, offset, dt_s, centre), rng)
        actions = expert.continued(states, given, horizon, dt_s, centre, rng)
        widths = self._gripper.follow(seen.width, plan[..., 7].astype(np.float64), dt_s)
        told = replace(seen, tool=states.tool, width=widths[np.arange(count), offset])
        age_s = (offset * dt_s).astype(np.float32)
        return {"state": self.observe(told, rng), "age_s": age_s, "given": given, "actions": actions}

    def observe(self, states: expert.Catching, rng: np.random.Generator) -> Float32:
        """State vectors (N,S) of the contract, with the tracker's noise; joint positions, which nobody reads, are 0."""
        count, contract = len(states), self.contract
        turn = expert.DOWN + rng.normal(0.0, _TILT, (count, 4))
        velocity = states.velocities(self.centre)
        row = np.arange(count)
        lifted = np.stack([np.zeros(count), np.zeros(count), rng.uniform(0.0, expert.SPEED_M_S, count)], 1)
        velocity[row, states.choice] = np.where(states.held[:, None], lifted, velocity[row, states.choice])
        tracker = self._tracker
        blocks = {
            "tool_pose": np.concatenate([states.tool, turn / np.linalg.norm(turn, axis=1, keepdims=True)], 1),
            "gripper_width": states.width[:, None],
            "target_position": states.things + rng.normal(0.0, tracker["position_noise_m"], states.things.shape),
            "target_velocity": velocity + rng.normal(0.0, tracker["velocity_noise_m_s"], velocity.shape),
        }
        out = np.zeros((count, len(contract.state_names)), np.float32)
        for key, block in blocks.items():
            out[:, contract.state_slice(key)] = block.reshape(count, -1)
        return out

    def correction_rows(self, rng: np.random.Generator, count: int, bases: tuple[expert.Catching, Float32]) -> Batch:
        """Some steps into a chunk of the policy: what is left of it, and what the expert would do now."""
        states, chunks = bases
        rows = rng.integers(len(states), size=count)
        base, first = chunks[rows], int(rng.integers(1, self.contract.horizon - 3))
        now = expert.follow(states[rows], base, np.full(count, first), self.contract.dt_s, self.centre)
        off = rng.normal(0.0, _OFF_COURSE_M, now.tool.shape) * ~now.held[:, None]
        now = expert.heading(replace(now, tool=now.tool + off), base)
        actions = expert.chunks(now, self.contract.horizon, self.contract.dt_s, self.centre)
        left = base[:, first:]
        return {
            "state": self.observe(now, rng), "base": left, "actions": actions[:, : left.shape[1]],
            "first": np.array([first]),
        }  # fmt: skip


def train(preset: Preset, out: Path, scale: float = 1.0) -> tuple[Path, dict[str, Any]]:
    """Train both stages, or go on where they were interrupted.

    Args:
        preset: With `training: states, flow, corrector`.
        out: Folder for checkpoints and the weight file.
        scale: Factor on the numbers of steps.

    Returns:
        The weight file, and figures.
    """
    contract, scene, training = load_contract(preset.contract), load_scene("turntable"), preset.training
    torch.manual_seed(training["seed"])
    model = TargetFlow(configure(preset.model, contract))
    gripper, pool = TargetTraining.of(preset).gripper, training["states"]
    data = CatchData(contract, scene, gripper, pool["starts"], pool["steps"], training["seed"])
    rng = np.random.default_rng(training["seed"])
    some = data.flow_rows(rng, 8192, 0, 0)
    fit_normalisation(model, action_transform(contract).forward(some["actions"], some["state"]))
    stages = {name: parse(TargetStageConfig, training[name], f"training: {name}") for name in ("flow", "corrector")}
    figures: dict[str, Any] = {}

    def finish(name: str, stage: FlowStage | CorrectorStage) -> None:
        config = stages[name]
        bounds = LoopConfig.of_stage(
            name, training | LOSSES, config, minutes=0.0, steps=max(1, round(scale * config.steps))
        )
        loop = Loop(model, stage, bounds, out, lambda _: {})
        loop.run()
        model.load_state_dict(loop.average.state_dict())
        with torch.no_grad():
            held = [stage.losses(next(stage.batches(np.random.default_rng(k)))) for k in range(8)]
        figures[name] = {key: float(np.mean([float(h[key]) for h in held])) for key in held[0]}

    def flow_rows(rng: np.random.Generator, count: int) -> Batch:
        return data.flow_rows(rng, count, training["longest_offset_steps"], training["prefix_steps"])

    finish("flow", FlowStage(model, contract, flow_rows, stages["flow"].batch))
    states = expert.choose(data.pool[rng.integers(len(data.pool), size=max(64, round(min(scale, 1.0) * _BASES)))], rng)
    chunks = sample_chunks(model, contract, data.observe(states, rng), preset.decoding["steps"], training["seed"])

    def correction_rows(rng: np.random.Generator, count: int) -> Batch:
        return data.correction_rows(rng, count, (states, chunks))

    finish("corrector", CorrectorStage(model, contract, correction_rows, stages["corrector"].batch))
    path = out / f"{preset.name}.safetensors"
    save_weights(path, model, Metadata(preset.policy, preset.name, contract.hash, preset.model, {}, figures))
    return path, figures
