"""Two pictures in one prompt: what every family does with them, or says that it cannot."""

import numpy as np
import pytest
import torch
from PIL import Image

from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.mgm import MGM
from flmm.contract.findings import noise
from flmm.errors import SecondPictureError

QUESTION = "the red circle"


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@torch.no_grad()
def logits(backbone: TransformersBackbone, images: list[Image.Image]) -> torch.Tensor:
    """Of the answer's first token."""
    output: torch.Tensor = backbone.model(**backbone.several(images, QUESTION)).logits
    return output[0, -1].float()


def test_a_family_sees_both_pictures_or_says_that_it_cannot(any_backbone: TransformersBackbone) -> None:
    if isinstance(any_backbone, MGM):
        with pytest.raises(SecondPictureError, match="reads one picture at a time"):
            any_backbone.look([picture(0), picture(1)], QUESTION, max_new_tokens=3)
        return
    both = [picture(0), picture(1)]
    tokens = any_backbone.look(both, QUESTION, max_new_tokens=3)
    assert tokens == any_backbone.look(both, QUESTION, max_new_tokens=3) and len(tokens) <= 3
    mine = logits(any_backbone, both)
    assert not torch.allclose(mine, logits(any_backbone, [picture(0), picture(2)]))
    assert not torch.allclose(mine, logits(any_backbone, [picture(2), picture(1)]))


def test_one_picture_is_the_prompt_of_every_other_question(any_backbone: TransformersBackbone) -> None:
    if isinstance(any_backbone, MGM):
        return
    image = noise(40, 60)
    alone = any_backbone.look([image], QUESTION, max_new_tokens=4)
    assert alone == any_backbone.generate(image, QUESTION, max_new_tokens=4, tap=False).tokens


def test_pictures_that_do_not_fit_are_refused_in_words(backbone: TransformersBackbone) -> None:
    with pytest.raises(SecondPictureError, match=r"20 pictures and the question are \d+ tokens"):
        backbone.look([picture(0)] * 20, QUESTION, max_new_tokens=4)
