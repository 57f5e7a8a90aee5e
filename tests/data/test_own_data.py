"""docs/own-data.md, followed to the letter, and what its reader refuses and counts."""

import copy
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flmm.data.coco_phrases import CocoPhrases
from flmm.data.prepare import prepare
from flmm.data.sample import Sample, read_samples
from flmm.errors import InputError
from flmm.evaluation.count import count
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.records import read_records
from flmm.evaluation.tables import dataset_and_split
from flmm.files import read_json, write_table
from flmm.params import Params, parse_params
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.protocols import answers
from tests.data.test_mutations import mutate, things
from tests.evaluation.conftest import SHIFTED, NoEmbeddings, write_part

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "own-data.md").read_text()
NAME = "phrases_birds"
HEIGHT, WIDTH = 48, 64


def block(language: str, begin: str) -> str:
    """The page's code of a language that begins so."""
    found = re.search(rf"```{language}\n({re.escape(begin)}.*?)```", PAGE, re.DOTALL)
    assert found, begin
    return found[1]


def page_file() -> dict[str, Any]:
    """The page's JSON."""
    value: dict[str, Any] = json.loads(block("json", "{"))
    return value


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 60)).save(path)


def renamed(file: dict[str, Any], name: str) -> dict[str, Any]:
    return {**file, "images": [{**file["images"][0], "file_name": name}]}


@pytest.fixture
def birds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's folder ``data/birds``; the training split has another photograph than ``val``."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "birds"
    for name in ("pond/heron.jpg", "lake.jpg"):
        picture(folder / "images" / name)
    (folder / f"{NAME}_val.json").write_text(json.dumps(page_file()))
    (folder / f"{NAME}_train.json").write_text(json.dumps(renamed(page_file(), "lake.jpg")))
    exec(block("python", "# zip the photographs"), {})
    return folder


@pytest.fixture
def params() -> Params:
    """The project's params with the page's lines."""
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for section, entries in yaml.safe_load(block("yaml", "# params.yaml")).items():
        raw["suites"]["shapes"][section] |= entries
    raw["evaluate"]["benchmarks"].append("phrases")
    return parse_params(raw)


def read(raw: Path, split: str = "val") -> tuple[list[Sample], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(CocoPhrases(raw, NAME).samples(split, set(), skipped)), skipped


def test_the_pipeline_trains_and_evaluates_on_it(params: Params) -> None:
    graph = Graph(params)
    assert graph.parts_of("phrases") == [f"{NAME}-val"]
    assert f"{NAME}-train" in graph.training_parts
    sources = {f"{NAME}.zip", f"{NAME}_train.json", f"{NAME}_val.json"}
    assert sources <= set(graph.sources) and f"{NAME}.zip" in graph.archives
    assert {f"{NAME}-train", f"{NAME}-val"} <= set(graph.extracted_parts("shapes-llava"))
    wanted = {Step("evaluate", "shapes-llava", "phrases"), Step("overlays", "shapes-llava", "phrases")}
    assert wanted <= set(graph.results)


def test_the_words_of_the_page_and_their_masks(birds: Path) -> None:
    (sample,), skipped = read(birds)
    assert not +skipped
    assert [target.sentences for target in sample.targets] == [
        ("the grey heron", "the bird on the left"),
        ("a duck asleep",),
        ("water",),
    ]
    assert [int(target.mask(HEIGHT, WIDTH).sum()) for target in sample.targets] == [16 * 32, 16 * 16, 54 * 8]
    assert [target.is_plural for target in sample.targets] == [False, False, True]
    assert (sample.archive, sample.image) == (NAME, "pond/heron.jpg")
    assert len(answers(sample, "standard")) == 4 and len(answers(sample, "paper")) == 1


def test_its_numbers_are_counted_as_res(params: Params, birds: Path, tmp_path: Path) -> None:
    prepare(params, NAME, "val", raw=birds, out=tmp_path / f"{NAME}-val.parquet")
    samples = read_samples(tmp_path / f"{NAME}-val.parquet")
    manifest = write_part(tmp_path / "maps", f"{NAME}-val", samples)
    heads: Any = {"unet": SHIFTED}
    table = predict(
        [Part(*dataset_and_split(manifest.part), manifest)], heads, NoEmbeddings(), params.evaluate.protocols
    )
    write_table(tmp_path / "predictions.parquet", table)
    count(params, "shapes-llava", {"phrases": tmp_path}, {}, tmp_path)
    found = {
        (r.protocol, r.metric): r for r in read_records(tmp_path / "metrics.json") if r.head == "unet+sam"
    }
    assert {metric for _, metric in found} >= {"cIoU", "gIoU", "Pr@0.5"}
    assert found["standard", "cIoU"].benchmark == NAME
    assert found["standard", "cIoU"].n == 4 and found["paper", "cIoU"].n == 3
    assert 0 < found["standard", "cIoU"].value < 100


def test_photographs_of_evaluation_are_left_out_of_training(
    params: Params, birds: Path, tmp_path: Path
) -> None:
    """The same file in both splits, and one that is called as COCO's photograph of an evaluation split."""
    out = tmp_path / "val.parquet"
    prepare(params, NAME, "val", raw=birds, out=out)
    with pytest.raises(InputError, match="no sample is left"):
        (birds / f"{NAME}_train.json").write_text(json.dumps(page_file()))
        prepare(params, NAME, "train", raw=birds, out=tmp_path / "train.parquet", evaluation=[out])
    both = page_file()
    both["images"].append({**both["images"][0], "id": 2, "file_name": "lake.jpg"})
    both["annotations"] += [{**each, "id": each["id"] + 10, "image_id": 2} for each in both["annotations"]]
    (birds / f"{NAME}_train.json").write_text(json.dumps(both))
    prepare(params, NAME, "train", raw=birds, out=tmp_path / "train.parquet", evaluation=[out])
    counts = read_json(tmp_path / "train.json")
    assert counts["samples"] == 1 and counts["overlap"]["excluded_samples"] == 1
    (birds / f"{NAME}_val.json").write_text(
        json.dumps(renamed(page_file(), "COCO_train2014_000000000123.jpg"))
    )
    assert CocoPhrases(birds, NAME).image_ids("val") == [123]
    assert min(CocoPhrases(birds, NAME).image_ids("train")) > 1 << 61


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("images", 0, "file_name"),
            "gone.jpg",
            r"_val\.json: image 1: .*phrases_birds\.zip has no file 'gone\.jpg'",
        ),
        (("images", 0, "file_name"), "../x.jpg", r"has no file '\.\./x\.jpg'"),
        (("images", 0, "width"), 63, r"heron\.jpg: 64 x 48 pixels, but .*_val\.json says 63 x 48"),
        (("annotations", 0, "image_id"), 7, r"annotation 10: has no image 7"),
        (("annotations", 2, "category_id"), 9, r"annotation 12: has no category 9"),
        (("annotations", 1, "id"), 10, r"annotation 10 occurs twice"),
        (("annotations", 0, "phrase"), 5, r"annotations\.0\.phrase"),
        (("annotations", 0, "segmentation"), "1 2", r"annotation 10"),
        (("annotations", 0, "segmentation"), {"size": [3, 3], "counts": [9]}, r"mask of 3x3 pixels"),
    ],
)
def test_what_is_wrong_is_named(birds: Path, place: tuple[Any, ...], value: object, message: str) -> None:
    changed = page_file()
    inner: Any = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (birds / f"{NAME}_val.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match=message):
        read(birds)


def test_a_photograph_that_exif_turns_is_named(birds: Path) -> None:
    changed = page_file()
    changed["images"][0] |= {"width": HEIGHT, "height": WIDTH}
    changed["annotations"] = changed["annotations"][:1]
    (birds / f"{NAME}_val.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="save it upright"):
        read(birds)


def test_what_has_no_words_or_no_pixels_is_counted(birds: Path) -> None:
    changed = page_file()
    first, second, third, fourth = changed["annotations"]
    first["phrase"] = ["the grey heron", " "]
    second["caption"] = ""
    third["segmentation"] = fourth["segmentation"] = []
    changed["images"].append({**changed["images"][0], "id": 2, "file_name": "lake.jpg"})
    (birds / f"{NAME}_val.json").write_text(json.dumps(changed))
    (sample,), skipped = read(birds)
    assert [target.sentences for target in sample.targets] == [("the grey heron",)]
    assert +skipped == {
        "sentence: empty": 2,
        "target: no words": 1,
        "target: mask without pixels": 1,
        "sample: no target left": 1,
    }


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_mutated_file_is_refused_or_counted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = tmp_path_factory.mktemp("raw")
    picture(raw / NAME / "pond" / "heron.jpg")
    changed = page_file()
    for _ in range(data.draw(st.integers(1, 3))):
        changed = mutate(data.draw, changed, rows=False)
    (raw / f"{NAME}_val.json").write_text(json.dumps(changed))
    try:
        samples, skipped = read(raw)
    except InputError as error:
        assert 0 < len(str(error)) < 700 and "\n" not in str(error)
        return
    lost = {
        kind: sum(n for reason, n in skipped.items() if reason.startswith(kind))
        for kind in ("sample", "target")
    }
    assert len(samples) + lost["sample"] == len(changed["images"])
    kept = sum(len(sample.targets) for sample in samples)
    assert kept + lost["target"] == things(changed["annotations"])


@given(
    boxes=st.lists(
        st.tuples(
            st.integers(0, 40), st.integers(0, 30), st.integers(1, 20), st.integers(1, 15), st.booleans()
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_box_is_where_it_was_put(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[int, int, int, int, bool]]
) -> None:
    """Boxes with a phrase of their own, or named by a category alone: what a plain loop paints."""
    raw = tmp_path_factory.mktemp("raw")
    picture(raw / NAME / "a.png")
    annotations, expected = [], {}
    water = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for number, (x, y, w, h, spoken) in enumerate(boxes):
        polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        words = {"phrase": f"box {number}"} if spoken else {"category_id": 3}
        annotations.append({"id": number, "image_id": 1, "segmentation": polygon, **words})
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[y : y + h, x : x + w] = True
        if spoken:
            expected[f"box {number}"] = mask
        else:
            water |= mask
            expected["water"] = water
    file = {**page_file(), "annotations": annotations}
    (raw / f"{NAME}_val.json").write_text(json.dumps(renamed(copy.deepcopy(file), "a.png")))
    (sample,), _ = read(raw)
    found = {target.sentences[0]: target.mask(HEIGHT, WIDTH) for target in sample.targets}
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in found)


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(stream, "JPEG")
    (tmp_path / NAME / "pond").mkdir(parents=True)
    (tmp_path / NAME / "pond" / "heron.jpg").write_bytes(stream.getvalue()[:10])
    (tmp_path / f"{NAME}_val.json").write_text(json.dumps(page_file()))
    with pytest.raises(InputError, match=r"heron\.jpg: not a readable picture"):
        read(tmp_path)
