"""The ``embed`` step: the frozen segmenter sees every image once, for all backbones and all epochs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from flmm.ahead import ahead
from flmm.cache.embeddings import EmbedManifest, ImageKey, Row, ShardFolder, images_sha256
from flmm.data.images import ImageStore
from flmm.device import resolve_device
from flmm.errors import StepError
from flmm.files import read_table
from flmm.heads.segmenter import Segmenter, load_segmenter
from flmm.params import Params
from flmm.progress import progress_bar

AHEAD = 4  # photographs that wait for the segmenter, and embeddings that wait to be written


def embed(
    params: Params, archive: str, sample_paths: Sequence[Path], raw: Path, out: Path, key: str
) -> EmbedManifest:
    """Embed every image of ``archive`` (``train2014``) in the samples that no whole shard in ``out`` holds yet.

    ``manifest.json`` is written last.
    ``key`` addresses the content of ``out``: segmenter, precision and code. Shards that are there stay, also those of a
    killed run and those with images that are not wanted now.

    Raises:
        InputError: samples, an image or the segmenter cannot be read.
        StepError: the disk is full, or an embedding is not finite.
    """
    wanted = [image for image in images_of(sample_paths) if image[0] == archive]
    segmenter = load_segmenter(params.active.segmenter, raw)
    folder = ShardFolder(out, segmenter.channels, segmenter.embedding_side)
    present = folder.tidy()
    missing = [image for image in wanted if image not in present]
    if missing:
        segmenter.to(resolve_device(params.embed.device, "embed.device"), getattr(torch, params.embed.dtype))
    store = ImageStore(raw)
    size = params.embed.images_per_shard
    chunks = [missing[at : at + size] for at in range(0, len(missing), size)]
    with progress_bar() as progress:
        task = progress.add_task("embed images", total=len(wanted), completed=len(wanted) - len(missing))
        for path, images in zip(folder.free(), chunks, strict=False):  # there is always a free name
            folder.write(path, ahead(_embedded(images, segmenter, store), AHEAD))
            progress.advance(task, len(images))
    manifest = EmbedManifest(
        key=key,
        segmenter=params.active.segmenter.name,
        channels=segmenter.channels,
        side=segmenter.embedding_side,
        images=len(wanted),
        images_sha256=images_sha256(wanted),
        shards=folder.files(),
    )
    manifest.write(out)
    return manifest


def images_of(sample_paths: Sequence[Path]) -> list[ImageKey]:
    """Every image of the samples once, sorted."""
    found: set[ImageKey] = set()
    for path in sample_paths:
        table = read_table(path, columns=["archive", "image"])
        found.update(zip(table["archive"].to_pylist(), table["image"].to_pylist(), strict=True))
    return sorted(found)


def _embedded(images: Sequence[ImageKey], segmenter: Segmenter, store: ImageStore) -> Iterator[Row]:
    """One image at a time: hardly slower, and an embedding cannot depend on which others were missing."""
    pictures = ((key, store.open(*key)) for key in images)
    for (archive, image), picture in ahead(pictures, AHEAD):
        embedding = segmenter.embed(picture)[0].to("cpu", torch.float16)
        if not torch.isfinite(embedding).all():
            raise StepError(f"{archive}/{image}: its embedding is not finite; try embed.dtype: float32")
        yield (archive, image), embedding
