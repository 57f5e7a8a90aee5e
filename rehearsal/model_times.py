"""What an LMM and SAM's image encoder cost at real sizes, from a layer of each kind: no whole model is built.

Legend: S tokens, W width, P phrases, N image cells, R tokens of all phrases, B images, H x H cells of SAM's grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from segment_anything.modeling.image_encoder import Attention, add_decomposed_rel_pos
from transformers import DynamicCache

from benchmarks.attention_readout import model
from flmm.backbones.tap import Rows, Tap
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.pipeline.costs import PHRASE_TOKENS, PROMPT_TOKENS
from rehearsal.clock import Clock

HEADS_AT_ONCE = 4
PICTURE = np.zeros((480, 640, 3), np.uint8)


@dataclass(frozen=True)
class LayerTimes:
    """Of all layers together: seconds per token of a prompt and per generated token, and their parameters."""

    token: float
    generated: float
    parameters: float


@torch.no_grad()
def decoder(
    text: Mapping[str, int], cells: int, phrases: int, clock: Clock, dtype: torch.dtype
) -> LayerTimes:
    """One decoder layer times their number, the tap on the tokens of ``phrases``.

    A GPU runs as many of them one after the other as the model has, so that it waits for nothing in between.
    """
    layers, device = text["num_hidden_layers"], clock.device
    lmm = _random({**text, "num_hidden_layers": 1, "vocab_size": 1000}, device, dtype)
    tap, layer, rotary = Tap(lmm), lmm.get_decoder().layers[0], lmm.get_decoder().rotary_emb
    length = PROMPT_TOKENS + cells + phrases * PHRASE_TOKENS
    rows, calls = _rows(length, cells, phrases, device), layers if device.type == "cuda" else 1
    hidden = torch.randn(1, length, text["hidden_size"], device=device, dtype=dtype)
    places = torch.arange(length + calls, device=device)[None]
    angles = rotary(hidden, places[:, :length])

    def read() -> None:
        with tap.reading([rows]) as recording:
            for _ in range(calls):
                layer(hidden, position_embeddings=angles)
        recording.attention()

    cache = DynamicCache()
    layer(hidden, position_embeddings=angles, past_key_values=cache)
    step, place = hidden[:, -1:], rotary(hidden, places[:, length : length + 1])

    def generate() -> None:
        for _ in range(calls):
            layer(step, position_embeddings=place, past_key_values=cache)
        cache.crop(-calls)

    return LayerTimes(
        token=clock.seconds(read) / calls * layers / length,
        generated=clock.seconds(generate) / calls * layers,
        parameters=layers * sum(weight.numel() for weight in layer.parameters()),
    )


def _random(text: Mapping[str, int], device: torch.device, dtype: torch.dtype) -> Any:
    """A model of one layer, made where it stays."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return model(text)
    finally:
        torch.set_default_dtype(before)


def _rows(length: int, cells: int, phrases: int, device: torch.device) -> Rows:
    """What ``extract`` reads: the last tokens are those of the phrases, and each phrase's rows become their mean."""
    spoken = phrases * PHRASE_TOKENS
    mean = torch.eye(phrases, device=device).repeat_interleave(PHRASE_TOKENS, 1) / PHRASE_TOKENS  # (P, R)
    return Rows(
        sequence=0,
        queries=torch.arange(length - spoken, length, device=device),
        columns=torch.arange(1, 1 + cells, device=device),
        merge=mean,
    )


@torch.no_grad()
def embedding(config: Mapping[str, Any], clock: Clock, dtype: torch.dtype) -> float:
    """Seconds of an image: the encoder's blocks of each kind times their number, and all that is around them."""
    encoder = config["encoder"]
    whole = len(encoder["global_attn_indexes"])
    two = {**encoder, "depth": 2, "global_attn_indexes": [1]}
    segmenter = SamSegmenter(build_sam({**config, "encoder": two})).to(clock.device, dtype)
    image_encoder: Any = segmenter.model.image_encoder
    windowed, everywhere = image_encoder.blocks
    everywhere.attn.forward = lambda cells: by_heads(everywhere.attn, cells)
    side = segmenter.embedding_side
    cells = torch.randn(1, side, side, encoder["embed_dim"], device=clock.device, dtype=dtype)

    def around() -> None:
        pixels = segmenter.preprocess(PICTURE).to(dtype)
        patches = image_encoder.patch_embed(pixels) + image_encoder.pos_embed
        image_encoder.neck(patches.permute(0, 3, 1, 2))

    blocks = (encoder["depth"] - whole) * clock.seconds(lambda: windowed(cells))
    return blocks + whole * clock.seconds(lambda: everywhere(cells)) + clock.seconds(around)


def by_heads(attention: Attention, cells: torch.Tensor) -> torch.Tensor:
    """What SAM's attention gives for (1, H, H, W), a few heads at a time: all at once would take 3 GiB of ViT-L."""
    _, rows, columns, width = cells.shape
    parts = attention.qkv(cells).reshape(rows * columns, 3, attention.num_heads, -1).permute(1, 2, 0, 3)
    found = []
    for q, k, v in zip(*(part.split(HEADS_AT_ONCE) for part in parts), strict=True):
        scores = (q * attention.scale) @ k.transpose(-2, -1)
        size = (rows, columns)
        scores = add_decomposed_rel_pos(scores, q, attention.rel_pos_h, attention.rel_pos_w, size, size)
        found.append(scores.softmax(-1) @ v)
    together = torch.cat(found).permute(1, 0, 2).reshape(1, rows, columns, width)
    return attention.proj(together)
