"""A LeRobot checkpoint as a policy: the contract's views, state and actions against the features of config.json."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_core.contract import Contract
from vla_core.errors import PolicyError, UnknownNameError
from vla_core.strategies import BID, RTC_GUIDED
from vla_core.types import NS, Observation, Running, UInt8
from vla_policy.checkpoints import act, diffusion, pi0, smolvla
from vla_policy.checkpoints.actions import CheckpointActions
from vla_policy.checkpoints.lerobot_files import ACTION, STATE, LerobotCheckpoint, read_checkpoint
from vla_policy.checkpoints.model import MODELS, CheckpointModel, FlowModel, Inputs
from vla_policy.checkpoints.scaling import scalings
from vla_policy.checkpoints.tokens import Tokens
from vla_policy.checkpoints.units import Units, units
from vla_policy.core.blocks.decoder import RmsNorm
from vla_policy.core.drawing.continuation import Continuation, continuation
from vla_policy.core.drawing.draw import draw, samples_needed
from vla_policy.core.executed import from_chunk_start
from vla_policy.core.keypoint_policy import check_observation
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.preset import Preset, parse
from vla_policy.core.weights import fill

OURS = (act, diffusion, pi0, smolvla)  # imported so that they file themselves
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_EMPTY = "empty_camera_"  # LeRobot's name for views that a checkpoint reserves and nobody has


@dataclass(frozen=True, slots=True)
class LerobotSection:
    """A preset's `model` section.

    Attributes:
        views: Camera of the contract for every image feature, in the order of config.json, '' for one that the robot
            lacks; empty: the camera with the last name of the feature.
        state: Columns of the contract's state in the order of `observation.state`; empty: all, as they are.
        action: Columns of the contract's action in the order of `action`; empty: as they are.
        tokenizer: Folder of the tokenizer, for checkpoints that don't bring it along.
        scale, offset: The contract's units from the checkpoint's, see `units.Units`; empty: they are the same.
        dtype: Of the weights, 'float32' or 'bfloat16'.
    """

    views: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    tokenizer: str = ""
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Wiring:
    """Which numbers of the contract are which of the checkpoint.

    Attributes:
        views: Image features that are there, and the camera of each.
        state: Places in the contract's state. action: Place in the checkpoint's action of every contract column.
        relative: bool (D,), by the checkpoint's columns: those that it draws relative to the state.
        units: From the checkpoint's to the contract's, by the contract's columns.
    """

    views: tuple[tuple[str, int], ...]
    state: tuple[int, ...]
    action: tuple[int, ...]
    relative: Tensor
    units: Units


class LerobotPolicy:
    """See the module. Progress and success stay 0: such a checkpoint doesn't tell.

    Attributes:
        strategies: RTC by guidance and BID for flow models, which need no training for them; none for others.
    """

    def __init__(
        self, name: str, contract: Contract, checkpoint: LerobotCheckpoint, model: CheckpointModel, wiring: Wiring,
        tokenizer: Tokens | None, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.name, self.contract, self.contract_hash = name, contract, contract.hash
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.to(self.device, dtype).eval().requires_grad_(False)
        for part in self.model.modules():
            if isinstance(part, RmsNorm):
                part.float()  # scales near 1 need more digits than bfloat16 has
        self.wiring, self.tokenizer, self.dtype = wiring, tokenizer, dtype
        self.scaling = scalings(checkpoint)
        self.transform = CheckpointActions(
            wiring.action, wiring.relative, wiring.state, wiring.units, self.scaling[ACTION], model.noise_shape[-1]
        )
        self.strategies = _continues(contract) if isinstance(model, FlowModel) else frozenset()
        self._past: list[tuple[int, Observation]] = []

    @classmethod
    def load(cls, preset: Preset, contract: Contract, weights: Path | None) -> LerobotPolicy:
        """Load the folder that the preset's `weights` names.

        Raises:
            WeightsError: a file is missing, corrupt, or of another network.
            PolicyError: the checkpoint doesn't fit the contract, or needs something that isn't served here.
            ConfigError: the preset is broken.
        """
        section = parse(LerobotSection, preset.model, f"{preset.name}.yaml: model")
        if section.dtype not in DTYPES:
            raise UnknownNameError("dtype", section.dtype, DTYPES)
        folder = preset.weights_path() if weights is None else weights
        checkpoint = read_checkpoint(folder)
        kind = MODELS.get(checkpoint.kind)
        with torch.device("meta"):
            model = kind.of(checkpoint)
        fill(model, {key: t.float() for key, t in kind.weights(checkpoint).items()}, folder.name, assign=True)
        tokenizer = None
        if model.instructed:
            own = folder / str(checkpoint.steps.get("tokenizer_processor", {}).get("tokenizer_name", "tokenizer"))
            longest = int(checkpoint.options.get("tokenizer_max_length", 0))
            tokenizer = Tokens(Path(section.tokenizer) if section.tokenizer else own, longest)
        wiring = wire(checkpoint, contract, section, model)
        return cls(preset.name, contract, checkpoint, model, wiring, tokenizer, DTYPES[section.dtype])

    @torch.no_grad()
    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """See Policy."""
        check_observation(observation, self.contract)
        inputs = self._inputs(self._with_past(observation), observation.instruction)
        served = running is not None and running.strategy in self.strategies
        followed = continuation(running, observation, self.contract, self.transform, 0) if served else None
        shape = (samples_needed(followed), *self.model.noise_shape)
        noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32)).to(self.device)
        mixed = torch.autocast(self.device, self.dtype) if self.dtype != torch.float32 else nullcontext()
        with mixed:
            drawn = self._draw(inputs, noise, followed)[0, : self.contract.horizon].float().cpu().numpy()
        actions = self.transform.inverse(drawn, observation.state)
        if not np.isfinite(actions).all():
            raise PolicyError("a chunk with NaN or infinity", "finite actions", "check the checkpoint's files")
        return PolicyOutput(actions=actions, progress=0.0, success_estimate=0.0)

    def _draw(self, inputs: Inputs, noise: Tensor, followed: Continuation | None) -> Tensor:
        """Normalised (1,T,D) or (1,T,D')."""
        model = self.model
        if followed is None:
            return model.act(inputs, noise)
        assert isinstance(model, FlowModel), "no other one serves such a strategy"
        same = noise.new_zeros(noise.shape[1:]), noise.new_ones(noise.shape[1:])  # the steps are normalised already
        return draw(model.field(inputs), noise, model.samples, followed, *same)

    def _inputs(self, observations: list[Observation], instruction: str) -> Inputs:
        images = torch.stack([self._images(observation.rgb) for observation in observations])[None]
        states = np.stack([observation.state[list(self.wiring.state)] for observation in observations])
        tokens = torch.zeros(1, 0, dtype=torch.long)
        if self.tokenizer is not None:
            text = instruction if instruction.endswith("\n") else instruction + "\n"
            tokens = torch.tensor([self.tokenizer(text)])
        state = self.scaling[STATE].forward(torch.from_numpy(states))[None]
        return Inputs(*(part.to(self.device) for part in (images, state, tokens)))

    def _images(self, rgb: UInt8) -> Tensor:
        """(V,H,W,3) uint8 to (V',3,H,W), normalised."""
        whole = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() / 255.0
        return torch.stack([self.scaling[key].forward(whole[place]) for key, place in self.wiring.views])

    def _with_past(self, now: Observation) -> list[Observation]:
        """With those nearest to whole action steps ago, oldest first; a new instruction begins a new past."""
        count, step_ns = self.model.history, round(self.contract.dt_s * NS)
        if self._past and (now.instruction != self._past[-1][1].instruction or now.stamp_ns < self._past[-1][0]):
            self._past.clear()
        kept = [entry for entry in self._past if now.stamp_ns - entry[0] <= (count + 1) * step_ns]
        self._past = [*kept, (now.stamp_ns, now)]
        wanted = [now.stamp_ns - back * step_ns for back in range(count - 1, 0, -1)]
        return [*(min(self._past, key=lambda entry, at=at: abs(entry[0] - at))[1] for at in wanted), now]  # type: ignore[misc]


def _continues(contract: Contract) -> frozenset[str]:
    """Strategies that a flow model serves without having been trained for them.

    None where running steps can't be told in its numbers: deltas from a chunk's start, and quaternions, of which
    nobody knows which of two signs it was trained on.
    """
    poses = any(part.space == "tool_pose" for part in contract.action_parts)
    return frozenset() if poses or from_chunk_start(contract) else frozenset({RTC_GUIDED, BID})


def wire(checkpoint: LerobotCheckpoint, contract: Contract, section: LerobotSection, model: CheckpointModel) -> Wiring:
    """Match a checkpoint's features with a contract.

    Raises:
        PolicyError: a view, a size or a name that doesn't fit.
    """
    name, contract_name = checkpoint.name, f"contract {contract.name}"
    if contract.horizon > model.steps:
        raise PolicyError(
            f"{contract_name} with {contract.horizon} steps", f"at most the {model.steps} that {name} draws",
            "choose a contract with a shorter horizon",
        )  # fmt: skip
    state = section.state or contract.state_names
    action = section.action or contract.action_names
    lost = [column for column in state if column not in contract.state_names]
    if lost or len(state) != checkpoint.size(STATE):
        got = f"state of {len(state)} numbers" + (f", {lost} not among them" if lost else "")
        raise PolicyError(
            f"{contract_name}: {got}", f"the {checkpoint.size(STATE)} of {name}'s {STATE}",
            "list the columns in the preset's `model: state`",
        )  # fmt: skip
    if sorted(action) != sorted(contract.action_names) or len(action) != checkpoint.size(ACTION):
        raise PolicyError(
            f"{contract_name}: actions {list(action)}", f"the {checkpoint.size(ACTION)} of {name}'s {ACTION}",
            "list the columns in the preset's `model: action`",
        )  # fmt: skip
    views = _views(checkpoint, contract, section, model)
    places = tuple(action.index(column) for column in contract.action_names)
    columns = tuple(contract.state_names.index(column) for column in state)
    in_contract = units(contract, section.scale, section.offset)
    return Wiring(views, columns, places, _relative(checkpoint), in_contract)


def _views(
    checkpoint: LerobotCheckpoint, contract: Contract, section: LerobotSection, model: CheckpointModel
) -> tuple[tuple[str, int], ...]:
    keys = [key for key in checkpoint.views if _EMPTY not in key]
    names = section.views or tuple(_camera(key, checkpoint, contract) for key in keys)
    fix = f"list a camera for each of {keys} in the preset's `model: views`"
    unknown = [name for name in names if name and name not in contract.view_names]
    if unknown or len(names) != len(keys) or not any(names):
        raise PolicyError(f"views {list(names)} for {checkpoint.name}", f"cameras of {contract.view_names}", fix)
    if not model.resizes:
        if not all(names):
            raise PolicyError(f"a missing view for {checkpoint.name}", f"a camera for each of {keys}", fix)
        height, width = contract.rgb_shape[1:3]
        for key in keys:
            if checkpoint.inputs[key].shape[1:] != (height, width):
                got = f"cameras of {width} x {height} pixels"
                wanted = checkpoint.inputs[key].shape
                raise PolicyError(
                    got, f"{wanted[2]} x {wanted[1]} as {checkpoint.name} was trained", "choose a contract with these"
                )
    return tuple((key, contract.view_names.index(name)) for key, name in zip(keys, names, strict=True) if name)


def _camera(key: str, checkpoint: LerobotCheckpoint, contract: Contract) -> str:
    """The contract's camera with the last name of a feature, or of the data's feature that is renamed to it."""
    sources = [data for data, renamed in checkpoint.renamed.items() if renamed == key]
    for source in [key, *sources]:
        if source.rpartition(".")[2] in contract.view_names:
            return source.rpartition(".")[2]
    only = contract.view_names
    return only[0] if len(only) == 1 and len(checkpoint.views) == 1 else key.rpartition(".")[2]


def _relative(checkpoint: LerobotCheckpoint) -> Tensor:
    """bool (D,): columns of the action drawn relative to the same columns of the state (openpi's DeltaActions)."""
    step = checkpoint.steps.get("relative_actions_processor", checkpoint.options)
    size = checkpoint.size(ACTION)
    if not step.get("enabled", step.get("use_relative_actions", False)):
        return torch.zeros(size, dtype=torch.bool)
    names = step.get("action_names", step.get("action_feature_names")) or []
    kept = [str(word).lower() for word in step.get("exclude_joints", step.get("relative_exclude_joints", []))]
    named = [any(word in str(name).lower() for word in kept) for name in names[:size]]
    named += [False] * (size - len(named))
    inside = [i < checkpoint.size(STATE) for i in range(size)]
    return torch.tensor([not absolute and there for absolute, there in zip(named, inside, strict=True)])
