"""An answer that the LMM gave just now, as it stands in the predictions table. Its attention went into the heads."""

from collections.abc import Sequence

import numpy as np
import torch

from flmm.cache.reader import CachedAnswer, CachedPhrase
from flmm.data.sample import Sample, encode_rle
from flmm.evaluation.predictions import unit_id


def live_answer(sample: Sample, phrases: Sequence[tuple[str, int]], protocol: str) -> CachedAnswer:
    """Each phrase's words beside the target of the sample that it is compared with; -1: an empty mask."""
    return CachedAnswer(
        sample_id=sample.sample_id,
        answer_id=unit_id(sample),
        archive=sample.archive,
        image=sample.image,
        image_id=sample.image_id,
        height=sample.height,
        width=sample.width,
        protocol=protocol,
        draw=0,
        phrases=tuple(_phrase(sample, text, index) for text, index in phrases),
    )


def _phrase(sample: Sample, text: str, index: int) -> CachedPhrase:
    target = sample.targets[index] if index >= 0 else None
    return CachedPhrase(
        target=index,
        target_id=target.target_id if target else "",
        text=text,
        attention=(),
        grids=(),
        hidden=torch.empty(0),
        rle=target.rle if target else encode_rle(np.zeros((sample.height, sample.width), dtype=bool)),
        category=target.category if target else "",
        is_thing=target.is_thing if target else True,
        is_plural=target.is_plural if target else False,
    )
