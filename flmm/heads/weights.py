"""Weight files in, exact reports out: nothing is unpickled unrestricted, no key is dropped unseen."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from flmm.errors import InputError, first_line

Weights = dict[str, torch.Tensor]

LISTED_KEYS = 5  # how many keys an error message names before it counts the rest


def read_weights(path: Path) -> Weights:
    """Read ``.safetensors``, or a pickled checkpoint (``.pth``, ``.pt``, ``.bin``) of nothing but plain data.

    A pickled checkpoint is a state dict or ``{"state_dict": …, …}``, the container of mmengine and so of the
    published F-LMM heads. A ``module.`` before every key (saved by a data-parallel wrapper) is removed.

    Raises:
        InputError: absent, cut short, something else, or a pickle that wants to run code.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not raw or not all(isinstance(value, torch.Tensor) for value in raw.values()):
        raise InputError(f"{path}: expected a state dict (names to tensors)")
    if all(name.startswith("module.") for name in raw):
        raw = {name.removeprefix("module."): value for name, value in raw.items()}
    return raw


def _read_safetensors(path: Path) -> Weights:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def _read_pickle(path: Path) -> Weights:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, it is not a checkpoint of plain tensors (loading it could run code)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: expected a state dict, found {type(content).__name__}")
    return dict(state)


def load_strictly(module: nn.Module, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Put ``weights`` into ``module``; every key on both sides must match, with its shape.

    Raises:
        InputError: names the missing, unexpected and wrongly shaped keys; ``module`` is then unchanged.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    misshapen = [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    problems = [
        f"{kind}: {_listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", misshapen))
        if names
    ]
    if problems:
        raise InputError(f"{source}: does not fit the model; {'; '.join(problems)}")
    module.load_state_dict(weights, strict=True)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED_KEYS} more" if len(names) > LISTED_KEYS else ""
    return ", ".join(names[:LISTED_KEYS]) + more
