"""Synthetic answers with two grids as LLaVA-Next has: a coarse square one and a fine, padded one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flmm.backbones.base import Grid, Observation
from flmm.cache.schema import Formats, Manifest
from flmm.cache.writer import phrase_rows, write_shard
from flmm.data.geometry import View
from flmm.data.sample import Sample, Target, encode_rle
from flmm.protocols import Answer, answers

FORMATS = Formats(attention="log8", hidden="log8")
COARSE = Grid("base", 4, 4, View(64, 64, 0, 0, 64, 64))
FINE = Grid("tiles", 6, 8, View(96, 128, 12, 0, 72, 128))


def make_sample(index: int, targets: int = 2) -> Sample:
    mask = np.zeros((18, 32), dtype=bool)
    mask[index % 18, 3:9] = True
    objects = tuple(
        Target(
            f"t{index}-{number}",
            (f"object {number}",),
            encode_rle(mask),
            "circle",
            number % 2 == 0,
            number == 1,
        )
        for number in range(targets)
    )
    return Sample(
        f"refcoco-train-{index}", "refcoco", "train", index, "train2014", f"{index}.jpg", 18, 32, objects, ()
    )


def make_observation(sample: Sample, answer: Answer, seed: int) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    phrases = len(sample.targets)
    return Observation(
        answer_id=answer.answer_id,
        targets=tuple(range(phrases)),
        texts=tuple(target.sentences[0] for target in sample.targets),
        attention=tuple(
            torch.rand(phrases, 6, grid.rows, grid.columns, generator=generator) ** 4
            for grid in (COARSE, FINE)
        ),
        hidden=tuple(torch.randn(3, 2 + number, 10, generator=generator) for number in range(phrases)),
        grids=(COARSE, FINE),
    )


@pytest.fixture
def part(tmp_path: Path) -> tuple[Manifest, list[Observation]]:
    """A part of two shards with three answers each, written; and what was observed."""
    shards, observed = [], []
    for shard in range(2):
        rows = []
        for index in range(3 * shard, 3 * shard + 3):
            sample = make_sample(index)
            answer = answers(sample, "train", draw=0, seed=7)[0]
            observed.append(make_observation(sample, answer, index))
            rows.append(phrase_rows(sample, answer, observed[-1], "train", 0, FORMATS))
        shards.append(write_shard(tmp_path / f"shard-{shard:05d}.parquet", rows))
    manifest = Manifest(
        key="0123456789ab",
        backbone="shapes-llava",
        part="refcoco-train",
        revision=None,
        processor_hash="none",
        params={"attention": "log8", "hidden": "log8"},
        formats=FORMATS,
        channels=12,
        shards=tuple(shards),
        folder=tmp_path,
    )
    manifest.write()
    return manifest, observed
