"""The refiner's prompts and its batching; its numbers are compared in tests/test_reference_parity.py."""

import torch

from flmm.heads.model import GroundingHead
from flmm.heads.sam import SamSegmenter
from tests.heads.conftest import TINY_SAM

IMAGE = (40, 60)


def coarse_logits(phrases: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(phrases, 11, 16, generator=generator) * 3


@torch.no_grad()
def test_phrases_of_unequal_token_counts_give_what_each_gives_alone(head: GroundingHead) -> None:
    refiner, embedding, logits = head.sam, torch.randn(1, 16, 6, 6), coarse_logits(4)
    logits[:, 0, 0] = -20.0  # the padding is the lowest logit of a call: the same alone and together
    tokens = [torch.randn(count, 16) for count in (2, 1, 2, 5)]
    together = refiner(embedding, logits, tokens, IMAGE)
    alone = [
        refiner(embedding, logits[index : index + 1], tokens[index : index + 1], IMAGE) for index in range(4)
    ]
    assert together.shape == (4, *IMAGE)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_mask_prompt_is_four_times_the_embedding_and_padded_below_a_landscape_image(
    head: GroundingHead,
) -> None:
    logits = coarse_logits(2).abs()  # nowhere below zero: outside the image the prompt is -1
    prompts = head.sam.mask_prompts(logits, IMAGE)
    assert prompts.shape == (2, 1, 24, 24)
    inside = TINY_SAM["img_size"] * IMAGE[0] // IMAGE[1] // 2
    assert bool((prompts[:, :, :inside] >= 0).all())
    assert bool((prompts[:, :, inside:] == -1).all())


@torch.no_grad()
def test_the_padding_is_the_lowest_logit_before_the_resize(head: GroundingHead) -> None:
    logits = torch.ones(2, 96, 144)  # resized to 32 x 48: three pixels become one
    logits[1, 0, 0] = -30.0  # bilinear without smoothing reads the middle one of three, so this one is lost
    prompts = head.sam.mask_prompts(logits, (96, 144))
    assert float(prompts[:, :, :16].min()) > -30
    assert bool((prompts[:, :, 16:] == -30).all())


def test_the_box_prompt_is_in_sam_pixels_and_whole_for_an_empty_mask(head: GroundingHead) -> None:
    logits = torch.full((2, *IMAGE), -9.0)
    logits[0, 10:20, 30:45] = 9.0
    boxes = head.sam.box_prompts(logits, IMAGE)
    torch.testing.assert_close(boxes, torch.tensor([[30.0, 10, 45, 20], [0, 0, 60, 40]]) * 48 / 60)


def test_gradients_reach_the_coarse_mask_through_the_mask_prompt(head: GroundingHead) -> None:
    logits = coarse_logits(1).requires_grad_()
    head.sam(torch.randn(1, 16, 6, 6), logits, [torch.randn(2, 16)], IMAGE).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_the_refiner_does_not_hold_the_image_encoder(sam: SamSegmenter) -> None:
    refiner = sam.refiner()
    assert not [name for name in refiner.state_dict() if "image_encoder" in name]
