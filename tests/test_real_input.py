"""Real photographs and annotations through prepare, extract, embed, train and evaluate, with the shapes LMM.

No quality is expected of a model that has only seen coloured shapes: everything must come out finite, complete and in
its place. ``FLMM_COCO_SAMPLE`` names other photographs in the same layout.
"""

import json
import math
from pathlib import Path

import pytest

from flmm.data.sample import Sample, decode_rle, read_samples
from flmm.embed import embed
from flmm.evaluation.count import count
from flmm.evaluation.overlays import overlays
from flmm.evaluation.run import evaluate
from flmm.evaluation.select import select
from flmm.extract import extract
from flmm.files import read_table
from flmm.params import Params
from flmm.training import train
from tests.data.coco_files import PROJECT, prepare_all
from tests.data.test_coco_sample import SAMPLE, sample_params
from tests.evaluation.conftest import HEADS

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"real sample not at {SAMPLE}; set FLMM_COCO_SAMPLE"),
]
BACKBONE = "shapes-llava"
PARTS = ("refcoco-train", "refcoco-val", "refcoco-testA", "refcoco-testB", "png-val")


def real_params() -> Params:
    """The shapes suite's models, found from any directory, on the sample's data sets."""
    given = sample_params().model_dump()
    segmenter = given["suites"]["shapes"]["segmenter"]
    segmenter["checkpoint"] = str(PROJECT / segmenter["checkpoint"])
    entry = given["catalogue"][BACKBONE]
    entry["model"] = str(PROJECT / entry["model"])
    given["train"]["epochs"] = 3
    given["overlays"]["pictures"] = 4
    return Params.model_validate(given)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of all steps."""
    out, params = tmp_path_factory.mktemp("real"), real_params()
    prepare_all(params, SAMPLE, out)
    manifests = {part: out / "cache" / part for part in PARTS}
    for part, folder in manifests.items():
        extract(params, BACKBONE, part, out / f"{part}.parquet", SAMPLE, folder, "0" * 12)
    samples, embedded = [out / f"{part}.parquet" for part in PARTS], []
    for archive in sorted(
        {archive for path in samples for archive in read_table(path)["archive"].to_pylist()}
    ):
        embed(params, archive, samples, SAMPLE, out / "embed" / archive, "key")
        embedded.append(out / "embed" / archive / "manifest.json")
    ready = {part: folder / "manifest.json" for part, folder in manifests.items()}
    train(
        params,
        BACKBONE,
        [ready["refcoco-train"]],
        embedded,
        out / "train",
        key="key",
        checkpoints=out / "checkpoints",
        raw=SAMPLE,
    )
    select(params, [ready["refcoco-train"]], out / "select")
    for benchmark, dataset in (("res", "refcoco"), ("png", "png")):
        folder = out / benchmark
        parts = [part for part in PARTS if part.startswith(dataset) and not part.endswith("-train")]
        evaluate(
            params,
            BACKBONE,
            benchmark,
            head=out / "train" / "head.safetensors",
            maps={part: ready[part] for part in parts},
            embeddings=embedded,
            samples={},
            selected=out / "select" / "heads.json",
            raw=SAMPLE,
            out=folder,
        )
        count(params, BACKBONE, {benchmark: folder}, {}, folder)
        overlays(params, BACKBONE, benchmark, folder, SAMPLE, folder / "overlays")
    return out


def samples_of(folder: Path) -> dict[str, Sample]:
    read = [sample for part in PARTS for sample in read_samples(folder / f"{part}.parquet")]
    return {sample.sample_id: sample for sample in read}


def test_training_on_real_photographs_stays_finite(finished: Path) -> None:
    steps = [json.loads(line) for line in (finished / "train" / "curves.jsonl").read_text().splitlines()]
    assert len(steps) == 3
    assert all(math.isfinite(value) for step in steps for value in step.values())


@pytest.mark.parametrize("benchmark", ["res", "png"])
def test_every_metric_is_a_finite_percentage(finished: Path, benchmark: str) -> None:
    records = json.loads((finished / benchmark / "metrics.json").read_text())
    assert {record["protocol"] for record in records} == {"paper", "standard"}
    assert {record["head"] for record in records} == HEADS
    assert all(0 <= record["value"] <= 100 for record in records)


@pytest.mark.parametrize("benchmark", ["res", "png"])
def test_every_phrase_is_there_with_its_own_truth_and_a_mask_of_its_photograph(
    finished: Path, benchmark: str
) -> None:
    samples, rows = samples_of(finished), read_table(finished / benchmark / "predictions.parquet").to_pylist()
    wanted = {
        (sample.sample_id, target.target_id, sentence)
        for sample in samples.values()
        if (sample.dataset == "png") == (benchmark == "png") and sample.split != "train"
        for target in sample.targets
        for sentence in target.sentences
    }
    assert {(row["sample_id"], row["target_id"], row["text"]) for row in rows} == wanted
    for row in rows:
        sample = samples[row["sample_id"]]
        target = next(target for target in sample.targets if target.target_id == row["target_id"])
        assert row["rle_truth"] == target.rle
        assert decode_rle(row["rle"], row["height"], row["width"]).shape == (sample.height, sample.width)
        assert 0 <= row["iou"] <= 1


@pytest.mark.parametrize("benchmark", ["res", "png"])
def test_there_are_pictures_to_look_at(finished: Path, benchmark: str) -> None:
    folder = finished / benchmark / "overlays"
    listed = json.loads((folder / "overlays.json").read_text())
    assert listed
    assert all((folder / entry["file"]).is_file() for entry in listed)
