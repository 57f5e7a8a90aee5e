"""A learnable training set of any size: an attention map is its phrase's mask, blurred and noisy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch.nn import functional

from flmm.backbones.base import Grid, Observation
from flmm.cache.embeddings import EmbedManifest, ShardFolder, images_sha256
from flmm.cache.schema import Formats, Manifest
from flmm.cache.writer import phrase_rows, write_shard
from flmm.data.geometry import letterbox
from flmm.data.sample import Sample, Target, encode_rle
from flmm.files import write_json
from flmm.heads.sam import build_sam
from flmm.params import Params, parse_params
from flmm.protocols import answers

PROJECT = Path(__file__).parents[2]
SAM_CONFIG: dict[str, Any] = {
    "img_size": 64,
    "patch_size": 16,
    "encoder": {
        "depth": 1,
        "embed_dim": 16,
        "num_heads": 2,
        "global_attn_indexes": [0],
        "window_size": 2,
        "out_chans": 16,
    },
    "prompt": {"embed_dim": 16, "mask_in_chans": 4},
    "decoder": {
        "transformer_depth": 1,
        "mlp_dim": 16,
        "num_heads": 2,
        "iou_head_depth": 2,
        "iou_head_hidden_dim": 16,
    },
}
BACKBONE = "shapes-llava"
KEY = "0" * 64


def write_training_set(
    folder: Path,
    *,
    images: int,
    phrases: int = 2,
    size: tuple[int, int] = (24, 32),
    cells: int = 6,
    channels: int = 8,
    layers: int = 2,
    width: int = 12,
    sam: dict[str, Any] = SAM_CONFIG,
) -> tuple[Path, Path]:
    """Attention of ``images`` answers, SAM embeddings and a random SAM; the manifests' paths."""
    generator = torch.Generator().manual_seed(0)
    grid = Grid("image", cells, cells, letterbox(*size, cells * 8))
    samples, rows = [], []
    for index in range(images):
        masks = _masks(phrases, size, generator)
        targets = tuple(
            Target(
                f"{index}-{number}", (f"thing {number}",), encode_rle(mask.numpy() > 0), "thing", True, False
            )
            for number, mask in enumerate(masks)
        )
        sample = Sample(f"s{index}", "png", "train", index, "train2017", f"{index}.jpg", *size, targets, ())
        answer = answers(sample, "train")[0]
        observation = Observation(
            answer_id=answer.answer_id,
            targets=tuple(range(phrases)),
            texts=tuple(target.sentences[0] for target in targets),
            attention=(_attention(masks, grid, channels, generator),),
            hidden=tuple(
                torch.randn(layers, 1 + number % 3, width, generator=generator) for number in range(phrases)
            ),
            grids=(grid,),
        )
        samples.append(sample)
        rows.append(phrase_rows(sample, answer, observation, "train", 0, Formats("log8", "log8")))
    part = folder / "extract" / "png-train"
    shard = write_shard(part / "shard-00000.parquet", rows)
    formats = Formats("log8", "log8")
    manifest = Manifest("k", BACKBONE, "png-train", None, "h", {}, formats, channels, (shard,), part).write()
    return manifest, _write_embeddings(folder / "embed", samples, sam)


def _masks(phrases: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """(P, h, w) rectangles of a quarter to half of each side."""
    masks = torch.zeros(phrases, *size)
    for mask in masks:
        lengths = [int(side * (0.25 + 0.25 * torch.rand(1, generator=generator).item())) for side in size]
        starts = [
            int(torch.randint(side - length, (1,), generator=generator).item())
            for side, length in zip(size, lengths, strict=True)
        ]
        mask[starts[0] : starts[0] + lengths[0], starts[1] : starts[1] + lengths[1]] = 1
    return masks


def _attention(masks: torch.Tensor, grid: Grid, channels: int, generator: torch.Generator) -> torch.Tensor:
    """(P, C, h, w): the masks on the letterboxed canvas, averaged per cell, with noise per channel."""
    view = grid.view
    inside = functional.interpolate(
        masks[:, None], size=(view.content_height, view.content_width), mode="area"
    )
    canvas = torch.zeros(len(masks), 1, view.height, view.width)
    canvas[..., view.top : view.top + view.content_height, view.left : view.left + view.content_width] = (
        inside
    )
    cells = functional.interpolate(canvas, size=(grid.rows, grid.columns), mode="area")
    noise = torch.rand(len(masks), channels, grid.rows, grid.columns, generator=generator)
    return (cells + 0.3 * noise) / 100


def _write_embeddings(folder: Path, samples: Sequence[Sample], config: dict[str, Any]) -> Path:
    channels, side = config["prompt"]["embed_dim"], config["img_size"] // config["patch_size"]
    generator = torch.Generator().manual_seed(1)
    images = [(sample.archive, sample.image) for sample in samples]
    rows = [(image, torch.randn(channels, side, side, generator=generator).half()) for image in images]
    shards = ShardFolder(folder, channels, side)
    shards.write(folder / "shard-00000.parquet", rows)
    digest = images_sha256(images)
    return EmbedManifest("k", "shapes-sam", channels, side, len(images), digest, shards.files()).write(folder)


def write_sam(folder: Path, config: dict[str, Any] = SAM_CONFIG) -> Path:
    """A SAM with random weights as a directory."""
    torch.manual_seed(3)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    save_file(build_sam(config).state_dict(), folder / "model.safetensors")
    return folder


def make_params(sam: Path, **train: Any) -> Params:
    """The project's own params.yaml with a small head, the given SAM and changed ``train`` values."""
    content = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    content["suites"]["shapes"]["segmenter"]["checkpoint"] = str(sam)
    small = {
        "head": {"base_channels": 4, "upsample": 16},
        "batch_size": 4,
        "epochs": 2,
        "checkpoint_every": 2,
    }
    own = content["suites"]["shapes"]["train"]
    for name, value in {**small, **train}.items():
        (own if name in own else content["train"])[name] = value
    return parse_params(content)
