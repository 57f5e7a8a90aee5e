"""Auxiliary losses of the pre-training: what a patch shows, read out of the features; thrown away afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.scenes import COLOURS, TEXTURES
from recipes.language import CELLS
from recipes.packing import Encoder

_FOREGROUND_WEIGHT = 6.0
_LABELS: tuple[tuple[str, ...], ...] = (tuple(COLOURS), tuple(SHAPES), tuple(TEXTURES))


class PatchHeads(torch.nn.Module):
    """Linear read-outs of colour, shape and texture per patch; used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.Linear(width, 1 + len(names)) for names in _LABELS)

    def forward(self, patches: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted cross-entropy, and the shape accuracy on things; patches (B, N, D), labels (B, 4, N)."""
        return patch_loss([head(patches) for head in self.heads], labels)


class WordHeads(torch.nn.Module):
    """The same read-outs of the image tokens with the words' own embeddings: what the language model could read.

    So a patch of a red circle resembles "red" and "circle", as in an LMM whose vision tower learnt from text; with
    `located`, the token of its cell, too.
    """

    def __init__(self, encoder: Encoder, located: bool) -> None:
        super().__init__()
        labels = (*_LABELS, CELLS) if located else _LABELS
        self.words = [torch.tensor([encoder.piece(name)[0] for name in names]) for names in labels]
        self.scales = torch.nn.Parameter(torch.zeros(len(labels)))
        self.nothing = torch.nn.Parameter(torch.zeros(len(labels)))

    def forward(self, images: torch.Tensor, embedding: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Weighted cross-entropy; image tokens (B, N, D), embedding (V, D), labels (B, 4, N)."""
        found = []
        for k, words in enumerate(self.words):
            logits = images @ embedding[words].T * self.scales[k].exp()
            found.append(torch.cat([self.nothing[k].expand(*logits.shape[:2], 1), logits], dim=-1))
        return patch_loss(found, labels)[0]


def patch_loss(logits: Sequence[torch.Tensor], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy (things weigh more than background) and shape accuracy of (B, N, 1 + names) logits each."""
    weight = 1 + _FOREGROUND_WEIGHT * (labels[:, 0] > 0).float()
    loss = weight.new_zeros(())
    for k, each in enumerate(logits):
        entropy = functional.cross_entropy(
            each.float().flatten(0, 1), labels[:, k].flatten(), reduction="none"
        )
        loss = loss + (entropy * weight.flatten()).sum() / weight.sum()
    right = (logits[1].argmax(-1) == labels[:, 1])[labels[:, 1] > 0].float().mean()
    return loss, right.detach()
