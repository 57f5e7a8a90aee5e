"""Real photographs and annotations, laid out as ../shared/coco-sample (or `FLMM_COCO_SAMPLE`)."""

import json
import os
from pathlib import Path

import pytest

from flmm.data.images import ImageStore
from flmm.data.mmbench import read_mmbench
from flmm.data.question import read_questions
from flmm.data.sample import read_samples
from flmm.params import Params
from tests.data.coco_files import (
    PROJECT,
    prepare_all,
    small_params,
)

SAMPLE = Path(os.environ.get("FLMM_COCO_SAMPLE", PROJECT.parent / "shared" / "coco-sample"))


def sample_params() -> Params:
    datasets = {
        "refcoco": {"reader": "refcoco", "refs": "refs(unc).p", "splits": ["train", "val", "testA", "testB"]},
        "png": {"reader": "png", "refs": None, "splits": ["val"]},
        "pope": {"reader": "pope", "splits": ["sample", "random"]},
    }
    return small_params(exclude=False, datasets=datasets)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"real sample not at {SAMPLE}; set FLMM_COCO_SAMPLE")
def test_the_real_sample_is_read_and_every_mask_has_the_annotated_area(tmp_path: Path) -> None:
    summary = prepare_all(sample_params(), SAMPLE, tmp_path)
    assert all(not part["skipped"] for part in summary["parts"].values())
    store = ImageStore(SAMPLE)
    annotated = json.loads((SAMPLE / "refcoco" / "instances.json").read_text())["annotations"]
    areas = {str(annotation["id"]): annotation["area"] for annotation in annotated}
    panoptic = json.loads((SAMPLE / "annotations" / "panoptic_val2017.json").read_text())["annotations"]
    segments = {(a["image_id"], s["id"]): s["area"] for a in panoptic for s in a["segments_info"]}
    narratives = json.loads((SAMPLE / "annotations" / "png_coco_val2017.json").read_text())
    for part in ("refcoco-train", "refcoco-val", "refcoco-testA", "refcoco-testB", "png-val"):
        for number, sample in enumerate(read_samples(tmp_path / f"{part}.parquet")):
            assert store.open(sample.archive, sample.image).size == (sample.width, sample.height)
            for target in sample.targets:
                area = target.mask(sample.height, sample.width).sum()
                if sample.dataset == "refcoco":
                    assert area == areas[target.target_id]
                else:
                    ids = narratives[number]["segments"][int(target.target_id)]["segment_ids"]
                    assert area == sum(segments[sample.image_id, int(i)] for i in ids)
    for question in read_questions(tmp_path / "pope-sample.parquet"):
        store.open(question.archive, question.image)
    assert read_mmbench(SAMPLE, "MMBench_DEV_SAMPLE.tsv")
    assert summary["parts"]["pope-random"]["questions"] == 3000 or "FLMM_COCO_SAMPLE" in os.environ
