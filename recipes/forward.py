"""The forward pass over packed conversations, for the recipe and for its measurements."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from recipes.corpus import Batch
from recipes.language import CELLS
from recipes.lmm import Family, Features, normalise
from recipes.packing import IGNORE


def language_loss(
    model: Any, family: Family, batch: Batch, progress: dict[int, list[float]] | None = None
) -> tuple[torch.Tensor, Features]:
    """Weighted next-token loss of the packed conversations, and what the pictures gave."""
    features = picture_features(model, family, batch)
    hidden = packed_hidden(model, features.packed, batch)
    wanted = batch.labels[:, 1:] != IGNORE
    logits = model.lm_head(hidden[:, :-1][wanted]).float()
    each = _losses(logits, batch.labels[:, 1:][wanted], batch.shares)
    weights = batch.weights[:, 1:][wanted]
    if progress is not None:  # the answers' loss per kind of turn, without their ends
        end = model.config.text_config.eos_token_id
        kinds = batch.kinds[:, 1:][wanted].masked_fill(batch.labels[:, 1:][wanted] == end, -1)
        for kind in set(kinds.tolist()) - {-1}:
            progress.setdefault(kind, []).append(each[kinds == kind].mean().item())
    return (each * weights).sum() / weights.sum(), features


def _losses(logits: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (N,) of logits (N, V); where a label is a cell, the divergence from its region's shares (M, cells).

    In expectation that is the cross-entropy of one cell drawn from the region, less the region's own entropy.
    """
    each = functional.cross_entropy(logits, labels, reduction="none")
    pointing = labels >= logits.shape[1] - len(CELLS)  # the vocabulary's last tokens
    told = functional.log_softmax(logits[pointing], dim=1)[:, -len(CELLS) :]
    return each.masked_scatter(pointing, functional.kl_div(told, shares, reduction="none").sum(1))


def picture_features(model: Any, family: Family, batch: Batch) -> Features:
    """The features of a batch's pictures."""
    return family.features(model, normalise(batch.pixels).to(family.dtype), batch.sizes)


def packed_hidden(model: Any, images: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The language model's last hidden states (B, T, D) over packed conversations; all image tokens (M, D)."""
    embeds = model.get_input_embeddings()(batch.ids)
    places = (batch.ids == model.config.image_token_id)[..., None].expand_as(embeds)
    embeds = embeds.masked_scatter(places, images.to(embeds.dtype))
    out = model.model.language_model(
        inputs_embeds=embeds, attention_mask=batch.mask(), position_ids=batch.positions, use_cache=False
    )
    hidden: torch.Tensor = out.last_hidden_state
    return hidden
