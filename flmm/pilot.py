"""The step ``pilot``: which attention heads and hidden layers of a frozen LMM the cache keeps, where not all are.

Some training photographs are spoken with all heads. Each head is then judged alone, without any training, by its AUC:
the probability that a cell of its map inside the mask has more attention than a cell outside, halves for ties. The AUC
knows order only, so that a sink (a far bright cell) costs a head no more than one cell. The heads of the highest mean
AUC over phrases and grids are kept. Layers are kept at even distances, the last one always among them.

Legend: P phrases, C channels of a grid (all heads), h w its size without padding, N cells.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from pydantic import ValidationError
from torch.nn import functional

from flmm import backbones
from flmm.backbones.base import Backbone, Observation
from flmm.data.geometry import unpad
from flmm.data.images import ImageStore
from flmm.data.sample import Sample, decode_rle, read_samples
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.files import read_json, write_json
from flmm.params import Params
from flmm.progress import tracked
from flmm.protocols import GROUNDING_PROMPT, answers
from flmm.selection import Selection


def pilot(params: Params, backbone_name: str, samples: Sequence[Path], raw: Path, out: Path) -> None:
    """Write ``out/heads.json``: the ``selection``, each head's score and on how many phrases they were compared.

    ``samples``: of the training parts; ``pilot.images`` of their samples are spoken, as many of each part. A backbone
    with no more heads or layers than are asked for keeps all of them.

    Raises:
        InputError: no phrase with a mask to compare heads on; an unusable photograph or model.
    """
    settings = params.extract
    share = -(-params.pilot.images // len(samples))
    chosen = [sample for path in samples for sample in islice(read_samples(path), share)][
        : params.pilot.images
    ]
    device = str(resolve_device(settings.device, "extract.device"))
    backbone = backbones.load(params.catalogue[backbone_name], dtype=settings.dtype, device=device)
    total, phrases, layers = torch.zeros(0), 0, 0
    images = ImageStore(raw)
    for sample in tracked(chosen, f"pilot {backbone_name}"):
        for observation, masks in _spoken(backbone, sample, images, params.seed):
            layers = len(observation.hidden[0])
            for phrase, mask in enumerate(masks):
                scores = head_scores(observation, phrase, mask)
                if scores is not None:
                    total = scores if not phrases else total + scores
                    phrases += 1
    if not phrases:
        raise InputError(
            f"{', '.join(map(str, samples))}: no phrase with a mask to compare attention heads on; raise pilot.images"
        )
    means = (total / phrases).tolist()
    selection = Selection(
        heads=best(means, _count(settings.heads, len(means))),
        layers=evenly(layers, _count(settings.layers, layers)),
        of_heads=len(means),
        of_layers=layers,
    )
    print(f"kept: {len(selection.heads)} of {len(means)} heads, {len(selection.layers)} of {layers} layers")
    rounded = [round(score, 5) for score in means]
    write_json(
        out / "heads.json",
        {"criterion": "auc", "phrases": phrases, "selection": selection.model_dump(), "scores": rounded},
    )


def read_pilot(path: Path) -> Selection:
    """What ``pilot`` chose.

    Raises:
        InputError: the file is absent or damaged.
    """
    found = read_json(path)
    try:
        return Selection.model_validate(found["selection"] if isinstance(found, dict) else found)
    except (KeyError, ValidationError) as error:
        raise InputError(f"{path}: holds no selection of heads and layers; run pilot again") from error


def head_scores(observation: Observation, phrase: int, mask: torch.Tensor) -> torch.Tensor | None:
    """Each head's AUC (C,) for one phrase, the mean over the grids; None where nothing or all is inside the mask.

    ``mask`` (y, x): the true pixels of the phrase, at any size.
    """
    found = []
    for maps, grid in zip(observation.attention, observation.grids, strict=True):
        cells = unpad(maps[phrase].double().cpu(), grid.view)  # (C, h, w)
        share = functional.adaptive_avg_pool2d(mask.double()[None], (cells.shape[-2], cells.shape[-1]))
        if not 0 < float(share.sum()) < share.numel():
            return None
        found.append(auc(cells.flatten(1), share.flatten()))
    return torch.stack(found).mean(dim=0)


def auc(values: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Per row of ``values`` (C, N): how likely a cell inside has more than one outside, 0 to 1; (C,).

    ``inside`` (N,): the share of each cell that is inside, 0 to 1; neither all 0 nor all 1.
    """
    # Twice, with ties once in this order and once in the other: the mean counts a tie as a half.
    both = [_ordered_auc(values, inside), _ordered_auc(values.flip(1), inside.flip(0))]
    return torch.stack(both).mean(dim=0)


def _ordered_auc(values: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    order = values.sort(dim=1, stable=True).indices
    within = inside[order]
    outside = 1 - within
    below = outside.cumsum(dim=1) - outside / 2  # a cell that is both is level with itself
    return (within * below).sum(dim=1) / (inside.sum() * (1 - inside).sum())


def best(scores: Sequence[float], count: int) -> tuple[int, ...]:
    """The numbers of the ``count`` highest scores, rising; of equal ones the first."""
    ranked = sorted(range(len(scores)), key=lambda number: (-scores[number], number))
    return tuple(sorted(ranked[:count]))


def evenly(of: int, count: int) -> tuple[int, ...]:
    """``count`` numbers below ``of`` at even distances, the last one among them."""
    return tuple((place + 1) * of // count - 1 for place in range(count))


def _count(wanted: int | str, there: int) -> int:
    return there if isinstance(wanted, str) else min(wanted, there)


def _spoken(
    backbone: Backbone, sample: Sample, images: ImageStore, seed: int
) -> Iterator[tuple[Observation, list[torch.Tensor]]]:
    """What the LMM's attention says of a sample's phrases, spoken as for training, and their masks."""
    spoken = [
        answer
        for answer in answers(sample, "train", seed=seed)
        if any(piece.target >= 0 for piece in answer.pieces)
    ]
    for observation in backbone.observe(images.of(sample), spoken, GROUNDING_PROMPT) if spoken else []:
        rles = [sample.targets[target].rle for target in observation.targets]
        yield (
            observation,
            [torch.from_numpy(decode_rle(rle, sample.height, sample.width)) for rle in rles],
        )
