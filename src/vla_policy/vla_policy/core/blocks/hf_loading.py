"""Loads published models with Hugging Face transformers, from a local folder and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vla_core.errors import UnknownNameError, WeightsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_config(folder: Path, known: Iterable[str]) -> Any:
    """The transformers configuration in a folder, of one of the `known` model types.

    Raises:
        WeightsError: no folder with a config.json.
        UnknownNameError: another type of model; lists the known ones.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise WeightsError(f"no config.json in {folder}", "a folder of a published model", "fetch it to that folder")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in known:
        raise UnknownNameError("model type", config.model_type, known)
    return config


def load_weights_into(name: str, folder: Path, config: Any, dtype: str) -> Any:
    """The transformers model of class `name` with the folder's weights, all of them.

    Raises:
        WeightsError: weights are missing, of another shape, or not those of this model.
        UnknownNameError: no such dtype.
    """
    import transformers
    from transformers.utils import logging

    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model, report = getattr(transformers, name).from_pretrained(
            folder, config=config, dtype=DTYPES[dtype], local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder.name}: {reason}", f"weights of {name}", "fetch the folder again") from error
    finally:
        logging.set_verbosity(verbosity)
    lost = [kind for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]]
    if lost:
        first = {kind: sorted(map(str, report[kind]))[0] for kind in lost}
        got = "; ".join(f"{len(report[kind])} {kind.replace('_', ' ')} such as {first[kind]}" for kind in lost)
        raise WeightsError(f"{folder.name}: {got}", f"all weights of {name}", "fetch the folder again")
    return model.eval()


def colours(folder: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (3,1,1) of preprocessor_config.json, or those given where there is none."""
    import json

    path = folder / "preprocessor_config.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    pair = data.get("image_mean", mean), data.get("image_std", std)
    return torch.tensor(pair[0])[:, None, None], torch.tensor(pair[1])[:, None, None]
