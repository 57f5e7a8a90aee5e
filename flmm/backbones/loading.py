"""From a catalogue entry to a frozen model: a local directory or a hub name, every weight accounted for."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.registry import family
from flmm.device import resolve_device
from flmm.errors import InputError, first_line
from flmm.params import BackboneEntry

# Keys of config.json that only models have that resample the image into tokens without a place.
_RESAMPLERS = ("qformer_config", "perceiver_config", "resampler_config")


def load(entry: BackboneEntry, *, dtype: str, device: str) -> TransformersBackbone:
    """Build the frozen backbone of a catalogue entry; see ``flmm.backbones.load``."""
    kind = family(entry.family)
    source = _source(entry.model, kind)
    options: dict[str, Any] = {"revision": entry.revision, "trust_remote_code": entry.trust_remote_code}
    try:
        config = kind.read_config(source, options)
        _check_config(config, kind, entry)
        processor = kind.read_processor(source, config, options)
        weights = kind.read_weights(source, config, options)
        model, report = kind.model_class.from_pretrained(
            source if weights is None else None,
            **options,
            config=config,
            state_dict=weights,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError, EOFError) as error:
        raise InputError(f"{entry.model}: cannot be loaded as a model: {first_line(error)}") from error
    # transformers only warns and leaves such weights random.
    unfit = sorted(
        {str(key) for part in ("missing_keys", "mismatched_keys", "unexpected_keys") for key in report[part]}
    )
    if unfit:
        raise InputError(
            f"{entry.model}: {len(unfit)} weights are absent, left over or of another shape, "
            f"such as {unfit[0]}"
        )
    return kind(model.to(resolve_device(device)), processor, entry.model)


def _source(model: str, kind: type[TransformersBackbone]) -> str:
    path = Path(model)
    if path.is_dir():
        if kind.model_types and not (path / "config.json").is_file():
            raise InputError(f"{model}: not a model directory (no config.json)")
        return str(path)
    if path.is_absolute() or model.startswith(".") or model.count("/") != 1:
        raise InputError(f"{model}: no such model directory (a hub name has the form owner/name)")
    return model


def _check_config(config: Any, kind: type[TransformersBackbone], entry: BackboneEntry) -> None:
    found = [key for key in _RESAMPLERS if getattr(config, key, None) is not None]
    if found:
        raise InputError(
            f"{entry.model}: a model that resamples the image ({found[0]}) keeps no 2-D grid and cannot "
            "be grounded"
        )
    if kind.model_types and config.model_type not in kind.model_types:
        raise InputError(
            f"{entry.model}: is a {config.model_type!r} model, but family {entry.family!r} reads "
            f"{', '.join(sorted(kind.model_types))}"
        )
