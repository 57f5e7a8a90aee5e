"""A language model made wider and deeper from a small one's weights, so that its training does not begin from nothing.

Every attention head is there several times, each copy but the first with noise, and counts the less; after every layer
follow others that add nothing at first. Without noise the wide model says what the small one says.
"""

from __future__ import annotations

import torch
from transformers import LlamaConfig

NOISE = 0.5  # standard deviation of a copy's noise, as a share of its weights' own
_HEADS = ("q_proj", "k_proj", "v_proj")  # rows are heads
_OUT = "o_proj"  # columns are heads
_ADDS = (_OUT, "down_proj")  # what a layer adds to its input goes through one of these

State = dict[str, torch.Tensor]


def widened(state: State, small: LlamaConfig, wide: LlamaConfig, noise: float = NOISE) -> State:
    """The weights of a LLaMA (without its output layer) for a config with multiples of its heads and layers.

    ``state``: those of the small one, which is left as it is. Noise is drawn from torch's generator.

    Raises:
        ValueError: heads or layers are no multiples, or the heads' own width differs.
    """
    heads = _times(wide.num_attention_heads, small.num_attention_heads, "heads")
    layers = _times(wide.num_hidden_layers, small.num_hidden_layers, "layers")
    if wide.head_dim != small.head_dim:
        raise ValueError(f"a head has {wide.head_dim} dimensions here, {small.head_dim} there")
    out: State = {}
    for name, weight in state.items():
        if not name.startswith("layers."):
            out[name] = weight.clone()
            continue
        _, number, rest = name.split(".", 2)
        for copy in range(layers):
            own = _copies(weight, rest, heads, noise)
            if copy and any(part in rest for part in _ADDS):
                own = torch.zeros_like(own)
            out[f"layers.{layers * int(number) + copy}.{rest}"] = own
    return out


def _times(many: int, few: int, what: str) -> int:
    times, rest = divmod(many, few)
    if rest or not times:
        raise ValueError(f"{many} {what} are no multiple of {few}")
    return times


def _copies(weight: torch.Tensor, name: str, heads: int, noise: float) -> torch.Tensor:
    """A layer's weight with each head ``heads`` times: all heads once, then all again."""
    if any(part in name for part in _HEADS):
        copies = [
            weight,
            *(weight + noise * weight.std() * torch.randn_like(weight) for _ in range(heads - 1)),
        ]
        return torch.cat(copies, dim=0)
    if _OUT in name:
        return torch.cat([weight / heads] * heads, dim=1)
    return weight.clone()
