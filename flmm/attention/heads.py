"""How good each attention head is alone, without any training.

A head's map is read as the baseline without training reads it (``flmm.heads.localization``): of unit sum, smoothed,
and cut to the connected part above its mean that holds the most. An attention sink, a far bright spot that says
nothing, costs the head its score: it is not removed, because no rule that removes it knows the truth.

Legend: P phrases, C channels of a grid, L layers, H heads of a layer, h w grid without padding.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flmm.backbones.base import HeadInput
from flmm.cache.reader import read_answers, read_manifest
from flmm.cache.schema import parse_manifest
from flmm.data.geometry import resize_bilinear, unpad
from flmm.data.sample import decode_rle
from flmm.errors import InputError
from flmm.files import read_json
from flmm.heads.localization import region, smoothed
from flmm.heads.unet import normalise
from flmm.params import Params
from flmm.pipeline import paths
from flmm.predictor import Grounder
from flmm.shapes.world.expressions import referring_expressions
from flmm.shapes.world.scenes import make_scene, scene_seed

Known = tuple[
    HeadInput, np.ndarray
]  # what was said about one picture, and its phrases' true pixels (P, y, x) bool


def by_head(said: HeadInput, phrase: int = 0) -> np.ndarray:
    """A phrase's maps on the last (fine) grid, not normalised, without padding: (L, H, h, w) float32."""
    maps = unpad(said.attention[-1][phrase].float().cpu(), said.view)  # (C, h, w)
    layers = said.hidden[phrase].shape[0]
    return maps.reshape(layers, -1, *maps.shape[-2:]).numpy()


def unit_sum(maps: np.ndarray) -> np.ndarray:
    """Maps (..., h, w), each divided by its sum."""
    return normalise(torch.from_numpy(maps)).numpy()


def overlaps(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each head's region with the pixels ``truth`` (y, x) bool: (L, H), 0 to 1; 0 of an empty truth."""
    ious = [_overlap(each, truth) for each in torch.from_numpy(maps).flatten(0, 1)]
    return np.array(ious, np.float32).reshape(maps.shape[:2])


def _overlap(attention: torch.Tensor, truth: np.ndarray) -> float:
    logits = region(smoothed(attention[None]))[None]
    mask = (resize_bilinear(logits, (truth.shape[0], truth.shape[1]))[0] > 0).numpy()
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def single_head_iou(known: Iterable[Known], *, phrases: int = 200) -> tuple[np.ndarray, int]:
    """Each head's mean IoU (L, H) over the first ``phrases`` phrases, and over how many it is.

    Raises:
        InputError: there is no phrase.
    """
    every = ((said, number, truth) for said, masks in known for number, truth in enumerate(masks))
    ious = [overlaps(by_head(said, number), truth) for said, number, truth in islice(every, phrases)]
    if not ious:
        raise InputError("attention heads: no phrase with true pixels to compare them on")
    return np.mean(ious, axis=0), len(ious)


def cached_part(params: Params, backbone: str, part: str) -> Path | None:
    """The manifest of a finished run's attention of a part, such as ``refcoco-val``; None without all heads."""
    pointer = paths.extract_pointer(params, backbone, part)
    if not pointer.is_file():
        return None
    found = read_json(pointer)
    key = found.get("key") if isinstance(found, dict) else None
    if not isinstance(key, str):
        raise InputError(f"{pointer}: names no key; run extract again")
    manifest = paths.extract_shards(backbone, key, part) / "manifest.json"
    if not manifest.is_file() or parse_manifest(manifest).selection is not None:
        return None
    return manifest


def cached(manifest: Path, protocol: str = "standard") -> Iterator[Known]:
    """What the attention cache holds of a part, with the true pixels that stand beside it.

    Raises:
        InputError: the manifest or a shard is absent or damaged.
    """
    for answer in read_answers(read_manifest(manifest), protocol):
        size = answer.height, answer.width
        yield answer.head_input(), np.stack([decode_rle(phrase.rle, *size) for phrase in answer.phrases])


def scenes(grounder: Grounder, count: int) -> Iterator[Known]:
    """The same for ``count`` generated scenes that no suite holds: one phrase for each thing that has a name."""
    for index in range(count):
        scene = make_scene(scene_seed("attention", 0, index))
        named = [
            (f"the {found[0].text}", thing.mask)
            for number, thing in enumerate(scene.things)
            if (found := referring_expressions(scene, number))
        ]
        if named:
            texts, masks = zip(*named, strict=True)
            _, _, said = grounder.look(Image.fromarray(scene.image), texts)
            for each, mask in zip(said, masks, strict=True):
                yield each, mask[None]
