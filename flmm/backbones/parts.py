"""Models that are published in parts, outside transformers' own layout: their configurations and weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from transformers import PreTrainedConfig

from flmm.errors import InputError


def part_config(source: str, part: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The ``config.json`` of a subfolder (``.``: none) as it stands: no code is run, whatever its ``auto_map`` says."""
    folder = "" if part == "." else part
    config, _ = PreTrainedConfig.get_config_dict(source, subfolder=folder, **options)
    if not config:
        raise OSError(f"no {part}/config.json")
    return config


def part_weights(source: str, parts: Sequence[str], options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """All weights of the subfolders under ``<part>/<key>``, from a directory or the hub; safetensors only.

    The part ``.`` is the folder itself.

    Raises:
        InputError: a subfolder has no safetensors, or not all that its index names.
    """
    folder = Path(source)
    if not folder.is_dir():
        names = ("*.safetensors", "*.safetensors.index.json")
        wanted = [str(Path(part) / name) for part in parts for name in names]
        folder = Path(snapshot_download(source, revision=options["revision"], allow_patterns=wanted))
    weights = {}
    for part in parts:
        for file in _shards(folder / part):
            weights.update({f"{part}/{key}": value for key, value in load_file(file).items()})
    return weights


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    # Names come from a downloaded file: only plain ones, so that nothing outside the folder is read.
    files = [folder / Path(name).name for name in sorted(names)]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise InputError(f"{absent[0]}: no such file; the weights have to be there as safetensors")
    return files


def renamed(
    weights: Mapping[str, torch.Tensor], prefixes: Mapping[str, str], model: str
) -> dict[str, torch.Tensor]:
    """Weights under new names: the first prefix that fits is replaced; an empty new prefix drops the weight.

    Raises:
        InputError: keys that no prefix fits (says how many, and one of them).
    """
    result, unknown = {}, []
    for key, value in weights.items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if prefix is None:
            unknown.append(key)
        elif prefixes[prefix]:
            result[prefixes[prefix] + key.removeprefix(prefix)] = value
    if unknown:
        raise InputError(
            f"{model}: {len(unknown)} weights have no place in this family, such as {unknown[0]}"
        )
    return result
