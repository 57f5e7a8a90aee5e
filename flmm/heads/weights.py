"""Weight files in, exact reports out: nothing is unpickled unrestricted, no key is dropped unseen."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from flmm.errors import InputError, first_line

Weights = dict[str, torch.Tensor]
Entry = TypeVar("Entry", bound=BaseModel)

LISTED_KEYS = 5  # how many keys an error message names before it counts the rest


class _LeftOut:
    """Stands for an object of a training's log: whatever it was made from is dropped, and nothing is called."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


# mmengine's checkpoints hold a log of the training beside the weights: curves as NumPy arrays in a class of its own,
# which is pickled with its methods. By these names it is read past.
_LOG = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)


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


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file.

    Raises:
        InputError: it is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def entry_of(metadata: Mapping[str, str], key: str, kind: type[Entry], path: Path) -> Entry | None:
    """The JSON under ``key`` of a file's metadata, as ``kind``; None where there is no such key.

    Raises:
        InputError: it is not what ``kind`` checks for (names the field).
    """
    if key not in metadata:
        return None
    try:
        return kind.model_validate_json(metadata[key])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "not JSON"
        raise InputError(f"{path}: metadata {where}: {first['msg']}") from error


def read_plain(path: Path) -> Any:
    """What a pickled checkpoint holds, if that is plain data; of a training's log only placeholders are left.

    Raises:
        InputError: cut short, something else, or it holds an object of a class that is none of these (names it).
    """
    names: list[Any] = [(_LeftOut, name) for name in _LOG]
    try:
        with torch.serialization.safe_globals(names):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it holds {found[1]}" if found else "it is not a checkpoint of plain tensors"
        raise InputError(
            f"{path}: refused, {what} (loading it could run code). If you trust it, keep its weights alone: "
            f"torch.save(torch.load({path.name!r}, weights_only=False)['state_dict'], 'weights.pth')"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({first_line(error)})") from error


def _read_pickle(path: Path) -> Weights:
    content = read_plain(path)
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
        f"{kind}: {listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", misshapen))
        if names
    ]
    if problems:
        raise InputError(f"{source}: does not fit the model; {'; '.join(problems)}")
    module.load_state_dict(weights, strict=True)


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - LISTED_KEYS} more" if len(names) > LISTED_KEYS else ""
    return ", ".join(names[:LISTED_KEYS]) + more
