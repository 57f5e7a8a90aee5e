"""Published F-LMM checkpoints in and out: the authors' layout on one side, the head of ``evaluate`` on the other.

Both hold the same tensors under the same names (https://github.com/wusize/F-LMM), so nothing is renamed and a round
trip keeps every bit. Only the sizes are added: ours are in the file's metadata. One order differs: MGM's heads of two
grids take a layer's maps of both grids before the next layer's, ours all maps of one grid before the other's.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from flmm.errors import InputError, first_line
from flmm.files import atomic_path
from flmm.heads.checkpoint import (
    METADATA_KEY,
    HeadConfig,
    load_published,
    read_config,
    write_head,
)
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.segmenter import Segmenter
from flmm.heads.weights import Weights, entry_of, load_strictly, read_metadata, read_plain, read_weights
from flmm.params import Head

SUFFIXES = (".pth", ".safetensors")
# Where the sizes are in a published file: the mask head's first convolution, the text prompt's weights.
FIRST, LAYERS, TEXT = "mask_head.encoder.0.0.convs.0.conv.weight", "text_layer_weights", "text_proj.weight"
_DIMENSIONS = {FIRST: 4, LAYERS: 1, TEXT: 2}

log = logging.getLogger(__name__)


def import_checkpoint(
    source: Path,
    target: Path,
    *,
    backbone: str,
    segmenter: str,
    sam: Segmenter,
    upsample: int,
    grids: int = 1,
) -> HeadConfig:
    """Read a published checkpoint of ``backbone`` and write it as a head that ``evaluate`` takes.

    Channels, layers, hidden width and U-Net width come from the weights. ``upsample``, which no weight shows,
    is what an exported file recorded, else the argument. ``grids``: how many a layer's channels hold side by side
    (MGM-HD: 2). Nothing in the file is executed (``flmm.heads.weights.read_weights``). What a file of parameters only
    lacks, SAM's fixed frequencies, is taken from ``sam``. Returns the sizes.

    Raises:
        InputError: unreadable or unsafe; a key is missing, unexpected or misshapen (names it); a value is not a
            finite float; the file says that it is of another backbone.
        StepError: the disk is full or not writable.
    """
    weights = load_published(source)
    recorded = recorded_config(source)
    if recorded is not None and recorded.backbone != backbone:
        raise InputError(f"{source}: exported from backbone {recorded.backbone}, not {backbone}")
    _check_values(weights, source)
    config = HeadConfig(
        backbone=backbone,
        segmenter=segmenter,
        side=sam.side,
        upsample=recorded.upsample if recorded else upsample,
        **asdict(_sizes(weights, source)),
    )
    head = build_head(
        Head(base_channels=config.base_channels, upsample=config.upsample),
        channels=config.channels,
        layers=config.layers,
        hidden_width=config.hidden_width,
        segmenter=sam,
        seed=0,  # every weight is replaced: the load is what checks each key and shape
    )
    weights = _with_buffers(weights, head, source)
    load_strictly(head, weights, source)
    if grids > 1:
        weights = _reordered(weights, config.layers, grids, source)
    write_head(target, weights, config)
    return config


def export_checkpoint(head_path: Path, target: Path, *, backbone: str, grids: int = 1) -> None:
    """Write a head in the published layout: ``.pth`` (``{"state_dict": …, "meta": …}``) or ``.safetensors``.

    ``grids``: see ``import_checkpoint``.

    Raises:
        InputError: no such head, a head of another backbone, or another suffix.
        StepError: the disk is full or not writable.
    """
    if target.suffix not in SUFFIXES:
        raise InputError(f"{target}: the name must end in {' or '.join(SUFFIXES)}")
    config = read_config(head_path)
    if config.backbone != backbone:
        raise InputError(f"{head_path}: trained for backbone {config.backbone}, not {backbone}")
    if config.selection is not None:
        raise InputError(
            f"{head_path}: trained on {len(config.selection.heads)} of {config.selection.of_heads} attention heads; "
            "the published layout is for all of them: train with extract.heads and extract.layers: all"
        )
    weights = read_weights(head_path)
    if grids > 1:
        weights = _reordered(weights, grids, config.layers, head_path)
    if target.suffix == ".safetensors":
        write_head(target, weights, config)
        return
    meta = {METADATA_KEY: config.as_json()}
    with atomic_path(target) as temporary:
        try:
            torch.save({"state_dict": weights, "meta": meta}, temporary)
        except RuntimeError as error:  # how torch's zip writer reports a full disk
            raise OSError(first_line(error)) from error


def _with_buffers(weights: Weights, head: GroundingHead, source: Path) -> Weights:
    """``weights`` and the buffers that they lack: SAM's own, which no training changes (its random frequencies)."""
    absent = {name: value for name, value in head.named_buffers() if name not in weights}
    if absent:
        log.warning("%s: holds parameters only; taken from the segmenter: %s", source, ", ".join(absent))
    return {**weights, **{name: value.detach().clone() for name, value in absent.items()}}


def _reordered(weights: Weights, outer: int, inner: int, source: Path) -> Weights:
    """The first convolution (B, outer * inner * M, 3, 3) with its input channels as inner * outer * M."""
    count = weights[FIRST].shape[1]
    if count % (outer * inner):
        raise InputError(
            f"{source}: {FIRST} has {count} channels, not a multiple of layers x grids, {outer * inner}"
        )
    channels = weights[FIRST].unflatten(1, (outer, inner, -1)).transpose(1, 2).flatten(1, 3)
    return {**weights, FIRST: channels.contiguous()}


@dataclass(frozen=True)
class Sizes:
    """What a published head was made for, read from its weights: attention channels, layers, hidden width."""

    channels: int
    layers: int
    hidden_width: int
    base_channels: int


def read_sizes(source: Path) -> Sizes:
    """The sizes of a published checkpoint's head; nothing in the file is executed.

    Raises:
        InputError: unreadable or unsafe, or a weight that tells a size is missing or misshapen.
    """
    return _sizes(load_published(source), source)


def _sizes(weights: Weights, source: Path) -> Sizes:
    for name, dimensions in _DIMENSIONS.items():
        if name not in weights:
            raise InputError(f"{source}: {name} is missing, which tells the head's sizes")
        if weights[name].dim() != dimensions:
            raise InputError(
                f"{source}: {name} has shape {tuple(weights[name].shape)}, not {dimensions} axes"
            )
    return Sizes(
        channels=weights[FIRST].shape[1],
        layers=weights[LAYERS].shape[0],
        hidden_width=weights[TEXT].shape[1],
        base_channels=weights[FIRST].shape[0],
    )


def _check_values(weights: Weights, source: Path) -> None:
    wrong = [
        name
        for name, value in weights.items()
        if not value.is_floating_point() or not bool(torch.isfinite(value).all())
    ]
    if wrong:
        raise InputError(f"{source}: not finite floating-point numbers: {', '.join(wrong)}")


def recorded_config(source: Path) -> HeadConfig | None:
    """The sizes that ``export_checkpoint`` wrote; None in a file of the authors."""
    if source.suffix == ".safetensors":
        meta = read_metadata(source)
    else:
        content = read_plain(source)
        meta = content.get("meta") if isinstance(content.get("meta"), Mapping) else {}
    return entry_of(meta, METADATA_KEY, HeadConfig, source)
