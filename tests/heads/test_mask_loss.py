"""BCE and dice against values worked out by hand."""

import math

import pytest
import torch

from flmm.heads.losses import mask_loss


def test_an_undecided_prediction_costs_log_two_and_the_naive_dice() -> None:
    targets = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    losses = mask_loss(torch.zeros(1, 2, 2), targets)
    assert losses["bce"].item() == pytest.approx(math.log(2))
    # Probabilities of a half: overlap 1, sums 2 + 2, epsilon 1.
    assert losses["dice"].item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))


def test_a_perfect_prediction_costs_nothing_and_a_reversed_one_everything() -> None:
    targets = (torch.arange(64 * 64).reshape(1, 64, 64) % 2).float()
    right, wrong = (60 * sign * (2 * targets - 1) for sign in (1, -1))
    assert mask_loss(right, targets)["bce"].item() == pytest.approx(0, abs=1e-6)
    assert mask_loss(right, targets)["dice"].item() == pytest.approx(0, abs=1e-6)
    assert mask_loss(wrong, targets)["bce"].item() == pytest.approx(60)
    assert mask_loss(wrong, targets)["dice"].item() == pytest.approx(1, abs=1e-3)


def test_dice_is_averaged_over_masks_whatever_their_size() -> None:
    targets = torch.zeros(2, 16, 16)
    targets[0, :, :], targets[1, 0, 0] = 1, 1
    logits = torch.where(targets > 0, 60.0, -60.0)
    logits[1, 0, 0] = -60.0  # the one-pixel mask is missed: dice 1 - 1 / (0 + 1 + 1)
    assert mask_loss(logits, targets)["dice"].item() == pytest.approx((0 + 0.5) / 2)


def test_half_precision_logits_of_a_large_mask_do_not_overflow() -> None:
    logits = torch.full((1, 600, 600), 8.0, dtype=torch.float16)
    losses = mask_loss(logits, torch.ones(1, 600, 600))
    assert losses["dice"].dtype == torch.float32
    assert losses["dice"].item() == pytest.approx(0, abs=1e-3)
