"""The tap: attention rows read inside an ordinary SDPA forward, without the full attention matrix.

``output_attentions=True`` needs eager attention, which computes and keeps whole matrices (docs/performance.md).
The tap lets SDPA compute the model's output, and computes besides it only the rows of the tokens that matter.

Legend: B batch, M query heads, K key heads, G = M / K, Q queries of this forward, S keys, R chosen rows, N
image columns, P phrases, L layers, C = L x M channels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

IMPLEMENTATION = "flmm_tap"


@dataclass(frozen=True)
class Rows:
    """What to read of one sequence of the batch.

    ``queries`` (R,): the tokens' places among this forward's queries; a token's row says where it looked,
    itself and everything before it. ``columns`` (N,): the image tokens' places among the keys. ``merge`` (P,
    R): each phrase's weights over the rows (the mean over its tokens).
    """

    sequence: int
    queries: torch.Tensor
    columns: torch.Tensor
    merge: torch.Tensor


class Recording:
    """The maps of one or several forwards; with ``steps``, of those of a single token (generation)."""

    def __init__(self, layers: dict[int, int], rows: Sequence[Rows], steps: bool) -> None:
        self._layers = layers  # id of the attention module -> its place among the decoder's layers
        self._rows = rows
        self._steps = steps
        count = max(layers.values()) + 1
        self._maps: list[list[list[torch.Tensor]]] = [[[] for _ in range(count)] for _ in rows]

    def attention(self, sequence: int = 0) -> torch.Tensor:
        """(P, C, N) float32 on the CPU, layer-major then head; with ``steps`` P counts the steps."""
        # per layer: every step's (P, M, N), one below the other
        layers = [torch.cat(steps) for steps in self._maps[sequence]]
        return torch.stack(layers, dim=1).flatten(1, 2).float().cpu()  # (P, L, M, N) -> (P, C, N)

    @property
    def empty(self) -> bool:
        """Whether no forward was read."""
        return not self._maps or not self._maps[0][0]

    def record(self, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, **context: Any) -> None:
        """Read one layer: query (B, M, Q, d), key (B, K, S, d)."""
        layer = self._layers.get(id(module))
        if layer is None or (self._steps and query.shape[2] != 1):
            return
        for rows, maps in zip(self._rows, self._maps, strict=True):
            maps[layer].append(_read(rows, query, key, **context))


_armed: ContextVar[Recording | None] = ContextVar("flmm_tap", default=None)


class Tap:
    """The tap on one model's language model. Nothing is read, and nothing costs, outside ``reading``."""

    def __init__(self, model: PreTrainedModel) -> None:
        install(model)
        self._layers = _attention_layers(model)

    @contextlib.contextmanager
    def reading(self, rows: Sequence[Rows], *, steps: bool = False) -> Iterator[Recording]:
        """Arm the tap for the forwards inside the block, in this thread and on this model only."""
        recording = Recording(self._layers, rows, steps)
        token = _armed.set(recording)
        try:
            yield recording
        finally:
            _armed.reset(token)


def install(model: PreTrainedModel) -> None:
    """Let the language model (not the vision tower) attend through the tap; outputs stay those of SDPA."""
    # Without the mask function under the same name transformers passes no mask at all: wrong outputs for
    # padded, sliding, bidirectional or cached inputs.
    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    model.set_attn_implementation({"text_config": IMPLEMENTATION})


def _attention_layers(model: Any) -> dict[int, int]:
    # Only inside the decoder does `layer_idx` name its layer: a perceiver or a resampler has one too.
    return {
        id(module): module.layer_idx
        for module in model.get_decoder().modules()
        if hasattr(module, "layer_idx")
    }


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function for transformers: SDPA, and the armed recording beside it."""
    recording = _armed.get()
    if recording is not None:
        causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", True))
        recording.record(module, query, key, mask=attention_mask, scaling=scaling, causal=causal)
    output: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **kwargs
    )
    return output


def _read(
    rows: Rows,
    query: torch.Tensor,
    key: torch.Tensor,
    *,
    mask: torch.Tensor | None,
    scaling: float | None,
    causal: bool,
) -> torch.Tensor:
    """The merged maps (P, M, N) float32 of one sequence: softmax over all keys, image columns kept."""
    number = rows.sequence
    queries, columns = rows.queries.to(query.device), rows.columns.to(query.device)
    q = query[number].index_select(1, queries).float()  # (M, R, d)
    k = key[number].float()  # (K, S, d)
    heads, count, width = q.shape
    grouped = q.reshape(k.shape[0], -1, width)  # (K, G * R, d): query heads of one key head are neighbours
    scores = torch.matmul(grouped, k.transpose(1, 2)).reshape(heads, count, k.shape[1])  # (M, R, S)
    scores = scores * (width**-0.5 if scaling is None else scaling)
    if mask is not None:
        chosen = mask[number if mask.shape[0] > 1 else 0].index_select(1, queries)[
            ..., : k.shape[1]
        ]  # (1 or M, R, S)
        scores = (
            scores.masked_fill(~chosen, -torch.inf) if chosen.dtype == torch.bool else scores + chosen.float()
        )
    elif causal and query.shape[2] > 1:
        # No mask and several queries: SDPA counts both from position 0 (a static cache's empty tail lies
        # beyond).
        future = torch.arange(k.shape[1], device=k.device)[None, :] > queries[:, None]  # (R, S)
        scores = scores.masked_fill(future, -torch.inf)
    maps = scores.softmax(dim=-1).index_select(2, columns)  # (M, R, N)
    if rows.merge.numel() == 1:  # the mean over one token: every step of an answer
        return maps.transpose(0, 1)
    return torch.einsum("pr,mrn->pmn", rows.merge.to(maps), maps)
