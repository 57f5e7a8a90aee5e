"""How many operations an answer costs in training at the sizes of LLaVA-1.5-7B and SAM ViT-L: online and from a cache.

    python benchmarks/flops.py [--phrases 5]

Counted, not measured, by torch's `FlopCounterMode`, a multiplication and an addition as two: products of matrices and
convolutions, nothing else. The frozen models run forward on meta tensors, so that none of their weights exists; the
head, U-Net and SAM's decoder, runs forward and backward on real ones, as its prompts depend on values. Online a step
pays for the frozen models and the head, from the cache for the head alone: their ratio bounds what a cache can gain.
"""

import argparse
from typing import Any

import torch
from loader import IMAGE, REAL, observed
from real_sizes import LLAMA_7B, backbone
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from flmm.data.sample import decode_rle
from flmm.heads.model import build_head
from flmm.heads.sam import VIT_L, SamSegmenter, build_sam
from flmm.params import Params, load_params
from flmm.pipeline.costs import PHRASE_TOKENS, PROMPT_TOKENS
from flmm.pipeline.times import PHRASES
from flmm.training.images import TrainingImage
from flmm.training.trainer import image_losses

LLAVA, SIDE = "llava-1.5-7b", 336
CLIP, LLAMA, ENCODER, HEAD = "CLIP-L/336", "LLaMA-7B", "SAM ViT-L's encoder", "head, forward and backward"


def counted(phrases: int, params: Params) -> dict[str, float]:
    """Operations per answer of so many phrases, by part."""
    return {**_frozen(phrases), HEAD: _head(phrases, params)}


@torch.no_grad()
def _frozen(phrases: int) -> dict[str, float]:
    meta = torch.device("meta")
    model: Any = backbone(LLAVA, meta, torch.float32).model.model
    tokens = REAL.cells**2 + PROMPT_TOKENS + phrases * PHRASE_TOKENS
    found = {}
    with FlopCounterMode(display=False) as counter:
        seen = model.vision_tower(torch.empty(1, 3, SIDE, SIDE, device=meta)).last_hidden_state
        model.multi_modal_projector(seen)
    found[CLIP] = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        model.language_model(inputs_embeds=torch.empty(1, tokens, LLAMA_7B["hidden_size"], device=meta))
    found[LLAMA] = counter.get_total_flops()
    with meta:
        encoder = build_sam(VIT_L).image_encoder
        pixels = torch.empty(1, 3, VIT_L["img_size"], VIT_L["img_size"])
    with FlopCounterMode(display=False) as counter:
        encoder(pixels)
    found[ENCODER] = counter.get_total_flops()
    return found


def _head(phrases: int, params: Params) -> float:
    """A step of the head on one answer; of SAM's encoder, which it does not use, there is one block."""
    encoder = {**VIT_L["encoder"], "depth": 1, "global_attn_indexes": []}
    head = build_head(
        params.train.head,
        channels=REAL.channels,
        layers=REAL.layers,
        hidden_width=REAL.width,
        segmenter=SamSegmenter(build_sam({**VIT_L, "encoder": encoder})),
        seed=0,
    )
    sample, seen = observed(0, phrases, torch.Generator().manual_seed(0))
    masks = torch.stack([torch.from_numpy(decode_rle(target.rle, *IMAGE)) for target in sample.targets])
    embedding = torch.randn(1, REAL.embedding, REAL.side, REAL.side)
    image = TrainingImage(seen.head_input(IMAGE), masks.byte(), embedding)
    with FlopCounterMode(display=False) as counter:
        (output,) = head([image.said], [image.embedding])
        image_losses(output, image, params.train.targets).sum().backward()
    return counter.get_total_flops()


def show(found: dict[str, float], phrases: int) -> Table:
    """The parts, both ways and their ratio."""
    title = f"an answer of {phrases} phrases in training, counted"
    table = Table("part", "TFLOP", "of the head's", title=title)
    online = sum(found.values())
    for part, count in {**found, "online": online, "from the cache": found[HEAD]}.items():
        table.add_row(part, f"{count / 1e12:.2f}", f"{count / found[HEAD]:.1f} x")
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--phrases", type=int, default=PHRASES)
    options = parser.parse_args()
    params = load_params(suite="paper", backbones=[LLAVA])
    Console(width=100).print(show(counted(options.phrases, params), options.phrases))


if __name__ == "__main__":
    main()
