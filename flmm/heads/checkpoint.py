"""Heads on disk: our own safetensors with their sizes in the metadata, and the authors' published files."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from flmm.errors import InputError
from flmm.files import atomic_path
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.segmenter import Segmenter
from flmm.heads.weights import Weights, entry_of, listed, load_strictly, read_metadata, read_weights
from flmm.params import Head
from flmm.sections import PositiveInt, Section
from flmm.selection import Selection

METADATA_KEY = "flmm_head"
LAYOUT = (
    "mask_head.",
    "sam.model.prompt_encoder.",
    "sam.model.mask_decoder.",
    "text_proj.",
    "text_layer_weights",
)
# Of SAM, but frozen: its image encoder, and the normalization of its input.
FROZEN = ("sam.model.image_encoder.", "sam.model.pixel_mean", "sam.model.pixel_std")

log = logging.getLogger(__name__)


class HeadConfig(Section):
    """What a head was built from: its sizes, and the backbone and segmenter that it belongs to."""

    backbone: str
    segmenter: str
    side: PositiveInt  # of the segmenter's input, in pixels; no weight's shape depends on it
    channels: PositiveInt
    layers: PositiveInt
    hidden_width: PositiveInt
    base_channels: PositiveInt
    upsample: PositiveInt
    selection: Selection | None = None  # the LMM's attention heads and layers that it takes; None: all

    @property
    def lmm_channels(self) -> int:
        """Channels of all grids that the backbone has, kept or not."""
        return self.channels if self.selection is None else self.selection.all_channels(self.channels)

    @property
    def lmm_layers(self) -> int:
        """Hidden layers that the backbone has, kept or not."""
        return self.layers if self.selection is None else self.selection.of_layers

    def as_json(self) -> str:
        """What stands in a head's metadata; a head of all heads and layers says nothing of a selection."""
        return json.dumps(self.model_dump(exclude_none=True), sort_keys=True)


def save_head(path: Path, head: GroundingHead, config: HeadConfig) -> None:
    """Write the weights (float32, keys of the published layout) and ``config``; equal heads are equal bytes.

    Raises:
        StepError: the disk is full or not writable.
    """
    write_head(path, {name: value.detach().float() for name, value in head.state_dict().items()}, config)


def write_head(path: Path, weights: Mapping[str, torch.Tensor], config: HeadConfig) -> None:
    """Write a head's tensors as they are, bit for bit, with ``config`` in the metadata.

    Raises:
        StepError: the disk is full or not writable.
    """
    whole = {name: value.cpu().contiguous() for name, value in weights.items()}
    # One metadata entry only: safetensors does not keep an order of several.
    metadata = {METADATA_KEY: config.as_json()}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata=metadata)
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error


def read_config(path: Path) -> HeadConfig:
    """The sizes and names in a saved head.

    Raises:
        InputError: the file is absent, cut short, or not a head of this project.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run train or import-checkpoint first")
    found = entry_of(read_metadata(path), METADATA_KEY, HeadConfig, path)
    if found is None:
        raise InputError(f"{path}: not a head saved by `flmm train` (no {METADATA_KEY!r} in its metadata)")
    return found


def load_head(path: Path, segmenter: Segmenter) -> GroundingHead:
    """Rebuild a saved head, in eval mode.

    Raises:
        InputError: unreadable, made for another segmenter, or a weight is missing, unexpected or misshapen.
    """
    config = read_config(path)
    if segmenter.side != config.side:
        raise InputError(
            f"{path}: trained with {config.segmenter} of {config.side} pixels, this one has {segmenter.side}"
        )
    head = build_head(
        Head(base_channels=config.base_channels, upsample=config.upsample),
        channels=config.channels,
        layers=config.layers,
        hidden_width=config.hidden_width,
        segmenter=segmenter,
        seed=0,  # every weight is replaced
        selection=config.selection,
    )
    load_strictly(head, read_weights(path), path)
    return head.eval()


def check_fits(path: Path, config: HeadConfig, sizes: Mapping[str, int], where: str) -> None:
    """Refuse a head whose LMM had other ``sizes`` (channels, layers, hidden_width) than the one of ``where`` has.

    Raises:
        InputError: names the head, what differs and ``where``.
    """
    mine = {
        "channels": config.lmm_channels,
        "layers": config.lmm_layers,
        "hidden_width": config.hidden_width,
    }
    wrong = [f"{name} {mine[name]} instead of {size}" for name, size in sizes.items() if mine[name] != size]
    if wrong:
        raise InputError(
            f"{path}: does not fit the attention of {where}: {', '.join(wrong)}; "
            "was it trained for another backbone?"
        )


def load_published(path: Path) -> Weights:
    """The trained tensors of a published F-LMM checkpoint; ``load_strictly`` puts them into a head.

    Layout: https://github.com/wusize/F-LMM. What was frozen (the LMM, SAM's image encoder) is no part of it; a file
    that holds it too was saved whole, and a warning lists what is left out.

    Raises:
        InputError: unreadable, unsafe, a part is absent, or a key of one of our parts is none of theirs.
    """
    weights = read_weights(path)
    frozen = [name for name in weights if _is_frozen(name)]
    if frozen:
        log.warning(
            "%s: left out %d tensors of what was frozen: %s", path, len(frozen), listed(_grouped(frozen))
        )
    kept = {name: value for name, value in weights.items() if not _is_frozen(name)}
    unknown = [name for name in kept if not name.startswith(LAYOUT)]
    if unknown:
        raise InputError(f"{path}: not of a published F-LMM head: {listed(sorted(unknown))}")
    absent = [part for part in LAYOUT if not any(name.startswith(part) for name in kept)]
    if absent:
        raise InputError(f"{path}: a published F-LMM head has {', '.join(absent)}, this one does not")
    return kept


def _is_frozen(name: str) -> bool:
    ours = name.split(".")[0] in {part.split(".")[0] for part in LAYOUT}
    return not ours or name.startswith(FROZEN)


def _grouped(names: list[str]) -> list[str]:
    """``llava.language_model.layers.* (290)``: the first three parts of the names, and how many share them."""
    counts = Counter(".".join(name.split(".")[:3]) for name in names)
    return [group if group in names else f"{group}.* ({count})" for group, count in sorted(counts.items())]
