"""The whole head: what is trained, what it gives, what it does not depend on."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from flmm.backbones.base import HeadInput
from flmm.data.geometry import training_targets
from flmm.errors import InputError
from flmm.heads.losses import mask_loss
from flmm.heads.model import GroundingHead, merge_grids
from flmm.heads.sam import SamSegmenter
from tests.heads.conftest import HEIGHT, IMAGE_WIDTH, make_head


@torch.no_grad()
def test_coarse_logits_lose_the_letterbox_and_refined_logits_have_the_image_size(
    head: GroundingHead, said: HeadInput
) -> None:
    output = head([said], [torch.randn(1, 16, 6, 6)])[0]
    assert output.coarse.shape == (4, 11, 16)  # 40 x 60 in a 16 x 16 square
    assert output.refined.shape == (4, HEIGHT, IMAGE_WIDTH)
    assert bool(torch.isfinite(output.coarse).all() and torch.isfinite(output.refined).all())


@torch.no_grad()
def test_images_that_go_together_get_the_masks_that_each_gets_alone(
    head: GroundingHead, said: HeadInput
) -> None:
    """Other sizes, other numbers of phrases and of tokens: nothing of a neighbour is seen."""
    maps = said.attention[0]
    few = HeadInput((maps[:1],), said.grids, said.hidden[:1], (HEIGHT // 2, IMAGE_WIDTH))
    turned = HeadInput((maps.flip(0),), said.grids, said.hidden[::-1], said.image_size)
    inputs = [said, few, turned]
    embeddings = [torch.randn(1, 16, 6, 6) for _ in inputs]
    for each, embedding, output in zip(inputs, embeddings, head(inputs, embeddings), strict=True):
        alone = head([each], [embedding])[0]
        torch.testing.assert_close(output.coarse, alone.coarse, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(output.refined, alone.refined, atol=1e-4, rtol=1e-4)


def test_equal_seeds_give_equal_heads_and_leave_the_global_random_state_alone(sam: SamSegmenter) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second, other = make_head(sam, seed=1), make_head(sam, seed=1), make_head(sam, seed=2)
    assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.text_proj.weight, other.text_proj.weight)


def test_an_untrained_refiner_is_sam_s_and_training_it_leaves_sam_unchanged(
    sam: SamSegmenter, said: HeadInput
) -> None:
    before = {name: value.clone() for name, value in sam.model.state_dict().items()}
    head = make_head(sam)
    for name, value in head.sam.prompt_encoder.state_dict().items():
        assert torch.equal(value, before[f"prompt_encoder.{name}"])
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
    head([said], [torch.randn(1, 16, 6, 6)])[0].refined.sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in sam.model.state_dict().items())
    changed = head.sam.mask_decoder.state_dict()["mask_tokens.weight"]
    assert not torch.equal(changed, before["mask_decoder.mask_tokens.weight"])


def test_the_refined_loss_reaches_mask_head_text_and_refiner(head: GroundingHead, said: HeadInput) -> None:
    head([said], [torch.randn(1, 16, 6, 6)])[0].refined.square().sum().backward()
    for part in ("mask_head.encoder.0", "sam.model.prompt_encoder.mask", "sam.model.mask_decoder.tr", "text"):
        gradients = [value.grad for name, value in head.named_parameters() if name.startswith(part)]
        assert gradients
        assert any(gradient is not None and bool(gradient.any()) for gradient in gradients), part


@torch.no_grad()
def test_the_words_change_the_refined_mask_and_not_the_coarse_one(
    head: GroundingHead, said: HeadInput
) -> None:
    embedding = torch.randn(1, 16, 6, 6)
    other_words = dataclasses.replace(said, hidden=tuple(states + 1 for states in said.hidden))
    plain, changed = (head([each], [embedding])[0] for each in (said, other_words))
    assert torch.equal(plain.coarse, changed.coarse)
    assert not torch.allclose(plain.refined, changed.refined)


@torch.no_grad()
def test_text_prompts_mix_layers_by_a_softmax_before_the_projection(head: GroundingHead) -> None:
    head.text_layer_weights.copy_(torch.tensor([0.0, 1.0, -1.0]))
    hidden = [torch.randn(3, 4, 10), torch.randn(3, 1, 10)]
    shares = head.text_layer_weights.softmax(0)
    expected = [head.text_proj(sum(shares[layer] * states[layer] for layer in range(3))) for states in hidden]
    torch.testing.assert_close(head.text_prompts(hidden), expected)


def test_training_on_one_answer_lowers_its_loss(sam: SamSegmenter, said: HeadInput) -> None:
    head = make_head(sam)
    embedding = sam.embed(torch.randint(0, 255, (HEIGHT, IMAGE_WIDTH, 3), dtype=torch.uint8).numpy())
    masks = torch.zeros(4, HEIGHT, IMAGE_WIDTH)
    for index in range(4):
        masks[index, 5:25, 12 * index : 12 * index + 15] = 1
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        output = head([said], [embedding])[0]
        parts = [
            mask_loss(logits, training_targets(masks, said.view, (logits.shape[1], logits.shape[2])))
            for logits in (output.coarse, output.refined)
        ]
        loss = sum((part["bce"] + part["dice"] for part in parts), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_grids_are_merged_coarse_first_on_the_fine_grid() -> None:
    coarse, fine = torch.rand(2, 3, 4, 4), torch.rand(2, 2, 6, 8)
    merged = merge_grids((coarse, fine))
    assert merged.shape == (2, 5, 6, 8)
    torch.testing.assert_close(merged[:, :3], functional.interpolate(coarse, size=(6, 8), mode="bilinear"))
    assert torch.equal(merged[:, 3:], fine)
    # A phrase's maps do not depend on which others are there.
    assert torch.equal(merge_grids((coarse[1:], fine[1:]))[0], merged[1])


def test_a_head_of_other_channels_is_refused(head: GroundingHead, said: HeadInput) -> None:
    fewer = dataclasses.replace(said, attention=(said.attention[0][:, 1:],))
    with pytest.raises(InputError, match="trained on 6 attention channels, but the backbone gives 5"):
        head([fewer], [torch.zeros(1, 16, 6, 6)])
