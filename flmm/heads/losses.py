"""The loss of one answer's masks: BCE plus dice, equal weights.

Legend: P phrases, H W logits. Dice is mmdetection's "naive" one, with plain sums instead of squared ones
(https://github.com/open-mmlab/mmdetection/blob/main/mmdet/models/losses/dice_loss.py).
"""

import torch
from torch.nn import functional as F

DICE_EPSILON = 1.0


def mask_loss(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """(P, H, W) logits and 0/1 targets -> ``bce`` (mean over pixels), ``dice`` (mean over masks), scalars."""
    # float32 even under autocast: sums over a whole mask do not fit half precision.
    logits, targets = logits.float(), targets.float()
    bce = F.binary_cross_entropy_with_logits(logits, targets)
    probabilities, truth = logits.sigmoid().flatten(1), targets.flatten(1)
    overlap = (probabilities * truth).sum(dim=1)
    total = probabilities.sum(dim=1) + truth.sum(dim=1)
    dice = 1 - (2 * overlap + DICE_EPSILON) / (total + DICE_EPSILON)
    return {"bce": bce, "dice": dice.mean()}
