"""docs/add-a-benchmark.md, followed to the letter: a reader, a benchmark and params.yaml, and nothing else."""

import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from rich.console import Console

import flmm.benchmarks
import flmm.data
from flmm.benchmarks import benchmark, names
from flmm.data.prepare import prepare
from flmm.data.sample import Sample, read_samples
from flmm.errors import InputError
from flmm.evaluation.count import count
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.records import read_records
from flmm.evaluation.score import score, template
from flmm.evaluation.tables import dataset_and_split
from flmm.files import read_json, write_json, write_table
from flmm.params import Params, parse_params
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.report import labels
from flmm.report.table import print_table
from tests.evaluation.conftest import SHIFTED, NoEmbeddings, write_part

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "add-a-benchmark.md"
BOX = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]]  # 10 x 10 pixels


def block(language: str, file: str) -> str:
    """The page's code for ``file``, which its first line names."""
    found = re.search(rf"```{language}\n# {re.escape(file)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, file
    return found[1]


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Params]:
    """The params with the benchmark, its two modules importable, its upstream files in ``raw``."""
    for package in (flmm.data, flmm.benchmarks):
        folder = tmp_path / package.__name__
        folder.mkdir()
        file = f"{package.__name__.replace('.', '/')}/toys.py"
        (folder / "toys.py").write_text(block("python", file))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for section, entries in yaml.safe_load(block("yaml", "params.yaml")).items():
        raw["suites"]["shapes"][section] |= entries
    raw["evaluate"]["benchmarks"].append("toys")
    write_upstream(tmp_path / "raw")
    yield parse_params(raw)
    for package in (flmm.data, flmm.benchmarks):
        sys.modules.pop(f"{package.__name__}.toys", None)
        vars(package).pop("toys", None)


def write_upstream(raw: Path) -> None:
    raw.mkdir()
    row: dict[str, Any] = {
        "image": "0.png",
        "height": 24,
        "width": 32,
        "phrase": "the red car",
        "segmentation": BOX,
    }
    rows = [row, {**row, "phrase": "the doll"}, {**row, "phrase": " "}, {**row, "segmentation": []}]
    (raw / "toys_val.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    picture = io.BytesIO()
    Image.new("RGB", (32, 24)).save(picture, "PNG")
    with zipfile.ZipFile(raw / "toys.zip", "w") as archive:
        archive.writestr("toys/0.png", picture.getvalue())


def prepared(toys: Params, tmp_path: Path) -> list[Sample]:
    prepare(toys, "toys", "val", raw=tmp_path / "raw", out=tmp_path / "toys-val.parquet")
    return read_samples(tmp_path / "toys-val.parquet")


def test_the_pipeline_knows_what_the_benchmark_needs(toys: Params) -> None:
    assert "toys" in names()
    graph = Graph(toys)
    assert graph.parts_of("toys") == ["toys-val"]
    assert {"toys_val.jsonl", "toys.zip"} <= set(graph.sources)
    assert "toys-val" in graph.extracted_parts("shapes-llava") and "toys.zip" in graph.archives
    wanted = {Step("evaluate", "shapes-llava", "toys"), Step("overlays", "shapes-llava", "toys")}
    assert wanted <= set(graph.results)
    assert Step("evaluate", "shapes-llava", "toys") in graph.reads(Step("count", "shapes-llava"))


def test_its_samples_are_predicted_counted_and_shown(toys: Params, tmp_path: Path) -> None:
    samples = prepared(toys, tmp_path)
    skipped = read_json(tmp_path / "toys-val.json")["skipped"]
    assert len(samples) == 2 and sum(skipped.values()) == 2
    manifest = write_part(tmp_path / "maps", "toys-val", samples)
    protocols = benchmark("toys").counted(toys.evaluate.protocols)
    heads: Any = {"unet": SHIFTED}
    table = predict([Part(*dataset_and_split(manifest.part), manifest)], heads, NoEmbeddings(), protocols)
    write_table(tmp_path / "predictions.parquet", table)
    count(toys, "shapes-llava", {"toys": tmp_path}, {}, tmp_path)
    found = {(r.head, r.protocol, r.metric): r.value for r in read_records(tmp_path / "metrics.json")}
    # Moved by 3 of 10 pixels, a box has an IoU of 7 / 13.
    assert found["unet+sam", "standard", "gIoU"] == pytest.approx(100 * 7 / 13)
    assert found["unet+sam", "standard", "graspable"] == 0.0
    assert {protocol for _, protocol, _ in found} == {"standard"}
    out = io.StringIO()
    print_table(tmp_path / "metrics.json", Console(file=out, width=120))
    assert "Toys" in out.getvalue() and "graspable" in out.getvalue() and "0.0" in out.getvalue()
    assert labels.metric_label("graspable", "toys") == "masks with IoU ≥ 0.7"
    assert labels.dataset_rank("toys") > labels.dataset_rank("png")


def test_anybodys_masks_are_scored_on_it(toys: Params, tmp_path: Path) -> None:
    samples = prepared(toys, tmp_path)
    filled = template(samples, "standard")
    for record in filled:
        record["segmentation"] = BOX
    write_json(tmp_path / "mine.json", filled)
    found = score(samples, tmp_path / "mine.json", "standard", "mine", benchmark("toys"))
    assert {r.metric: r.value for r in found.records} == {"graspable": 100.0, "gIoU": 100.0}


def test_without_its_file_it_is_unknown() -> None:
    assert "toys" not in names()
    with pytest.raises(InputError, match="unknown benchmark 'toys'"):
        benchmark("toys")


@pytest.mark.parametrize("text", ["", "BENCHMARK = 1", "x = 1"])
def test_a_file_without_a_benchmark_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "hollow.py").write_text(text)
    monkeypatch.setattr(flmm.benchmarks, "__path__", [*flmm.benchmarks.__path__, str(tmp_path)])
    with pytest.raises(
        InputError, match=r"flmm/benchmarks/hollow\.py: holds no BENCHMARK of the name 'hollow'"
    ):
        benchmark("hollow")
    sys.modules.pop("flmm.benchmarks.hollow")
