"""The heads that every evaluation compares, and how each is built: the one list. Their words: ``flmm.heads.names``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from flmm.heads import names
from flmm.heads.checkpoint import load_head, read_config
from flmm.heads.localization import LocalizationHead
from flmm.heads.model import MaskHead, build_head
from flmm.heads.segmenter import Segmenter
from flmm.params import Head


@dataclass(frozen=True)
class Materials:
    """What a head may be built from.

    ``trained``: the file of the backbone's trained head. ``segmenter``: on ``device`` already. ``channels``: the
    attention heads that were chosen for the baseline without training, or None where there was nothing to choose on.
    """

    trained: Path
    segmenter: Segmenter
    device: torch.device
    seed: int
    channels: Sequence[int] | None


def trained(materials: Materials) -> MaskHead:
    """The method: U-Net and refiner after training."""
    return load_head(materials.trained, materials.segmenter).to(materials.device).eval()


def untrained(materials: Materials) -> MaskHead:
    """The control: a head of the same sizes as training begins with, and none of its steps."""
    config = read_config(materials.trained)
    head = build_head(
        Head(base_channels=config.base_channels, upsample=config.upsample),
        channels=config.channels,
        layers=config.layers,
        hidden_width=config.hidden_width,
        segmenter=materials.segmenter,
        seed=materials.seed,
        selection=config.selection,
    )
    return head.to(materials.device).eval()


def localization(materials: Materials) -> MaskHead | None:
    """The baseline without training; None where no attention heads were chosen."""
    return None if materials.channels is None else LocalizationHead(materials.channels, materials.segmenter)


# Why a head may be absent, in words for facts.json and the report.
_WHY_ABSENT = {
    names.LOCALIZATION: "its attention heads are chosen on training phrases, and no training part was extracted"
}
# Under their names in the results. A builder that returns None leaves its head out.
BUILDERS: dict[str, Callable[[Materials], MaskHead | None]] = {
    names.TRAINED: trained,
    names.UNTRAINED: untrained,
    names.LOCALIZATION: localization,
}


def build_heads(materials: Materials) -> dict[str, MaskHead]:
    """Every head that can be built, by name.

    Raises:
        InputError: the trained head is absent, damaged or made for another segmenter.
    """
    built = {name: builder(materials) for name, builder in BUILDERS.items()}
    return {name: head for name, head in built.items() if head is not None}


def facts(table: pa.Table, heads: Mapping[str, MaskHead], channels: list[int] | None) -> dict[str, Any]:
    """What was predicted by whom, and which head is not there for which reason."""
    absent = {
        name: _WHY_ABSENT.get(name, "it cannot be built here") for name in BUILDERS if name not in heads
    }
    return {
        "predictions": table.num_rows,
        "heads": list(heads),
        "left_out": absent,
        "localization_channels": channels,
    }
