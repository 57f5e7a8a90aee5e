"""The maps of some phrases beside their masks: what ``flmm attention`` shows."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flmm.attention.heads import by_head, overlaps, unit_sum
from flmm.files import atomic_path
from flmm.predictor import Grounder, Picture

STRONGEST = 5


@dataclass(frozen=True)
class PhraseMaps:
    """One phrase. ``maps`` (L, H, h, w): of unit sum, on the fine grid, without padding; ``looking`` (L, H): how much
    attention fell on the picture's tokens, before that; ``mask`` (y, x) bool: refined; ``agreement`` (L, H): IoU of
    each head's own region with that mask, 0 to 1.
    """

    text: str
    maps: np.ndarray
    looking: np.ndarray
    mask: np.ndarray
    agreement: np.ndarray

    def strongest(self, count: int = STRONGEST) -> list[tuple[int, int]]:
        """(layer, head) of those that agree most with the mask, best first; none where it is empty."""
        heads = self.agreement.shape[1]
        order = np.argsort(-self.agreement, axis=None, kind="stable")[:count]
        return [divmod(int(at), heads) for at in order if self.agreement.flat[at] > 0]


def phrase_maps(
    grounder: Grounder, image: Picture, phrases: Sequence[str]
) -> tuple[Image.Image, list[PhraseMaps]]:
    """The RGB picture, and the maps of each phrase as if it had been said alone.

    Raises:
        InputError: as ``Grounder.ground``.
    """
    picture, texts, said = grounder.look(image, phrases)
    found = []
    for text, each, output in zip(texts, said, grounder.masks(picture, said), strict=True):
        mask = (output.probabilities(each.image_size)[1][0] > 0.5).cpu().numpy()
        maps = by_head(each)
        found.append(PhraseMaps(text, unit_sum(maps), maps.sum((-2, -1)), mask, overlaps(maps, mask)))
    return picture, found


def figures(found: PhraseMaps) -> dict[str, Any]:
    """The same as numbers for programs."""
    layers, heads = found.agreement.shape
    return {
        "phrase": found.text,
        "layers": layers,
        "heads": heads,
        "grid": list(found.maps.shape[2:]),
        "mask_pixels": int(found.mask.sum()),
        "strongest": [
            {"layer": layer, "head": head, "iou": round(float(found.agreement[layer, head]), 4)}
            for layer, head in found.strongest()
        ],
        "iou_with_mask": np.round(found.agreement.astype(float), 4).tolist(),
        "attention_on_image": np.round(found.looking.astype(float), 6).tolist(),
    }


def file_names(stem: str, phrases: Sequence[str]) -> list[str]:
    """A PNG's name for each phrase, no two alike: ``picture-the-red-circle.png``."""
    names: list[str] = []
    for phrase in phrases:
        words = re.sub(r"\W+", "-", phrase).strip("-")[:60]
        base = f"{stem}-{words or 'phrase'}"
        name, number = base, 1
        while f"{name}.png" in names:
            number += 1
            name = f"{base}-{number}"
        names.append(f"{name}.png")
    return names


def show(grounder: Grounder, image: Path, phrases: Sequence[str], folder: Path, *, as_json: bool) -> None:
    """Write a PNG for each phrase into ``folder`` and print what is in it.

    Raises:
        InputError: not a picture, or no words. StepError: a file cannot be written.
    """
    from flmm.attention.drawing import phrase_figure

    picture, every = phrase_maps(grounder, image, phrases)
    told = []
    for found, name in zip(every, file_names(image.stem, [each.text for each in every]), strict=True):
        with atomic_path(folder / name) as temporary:
            phrase_figure(picture, found).savefig(temporary, format="png")
        told.append(figures(found) | {"file": str(folder / name)})
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    for each in told:
        best = ", ".join(f"{one['layer']}.{one['head']} ({one['iou']:.2f})" for one in each["strongest"])
        print(
            f"{each['file']}: {each['phrase']}; strongest heads, layer.head (IoU with the mask): {best or 'none'}"
        )
