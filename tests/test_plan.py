"""`flmm plan`: sums of what is known, and every unknown or missing thing by name."""

import io
from collections import namedtuple
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flmm import device
from flmm.cli import app
from flmm.data.sample import write_samples
from flmm.errors import InputError
from flmm.params import Params, PublishedHead, load_params
from flmm.pipeline import costs, counts, needs, paths, plan
from flmm.pipeline.cache_plan import Load, disk, phrase_columns
from flmm.pipeline.steps import Graph
from tests.evaluation.conftest import make_sample

PROJECT = Path(__file__).parents[1]


def planned(params: Params) -> tuple[str, list[str]]:
    text = io.StringIO()
    missing = plan.plan(params, Console(width=200, file=text))
    return text.getvalue(), missing


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    return on_a_bare_machine(tmp_path, monkeypatch)


def on_a_bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The paper's suite in an empty folder, without a GPU."""
    params = load_params(PROJECT / "params.yaml", suite="paper", backbones=["llava-1.5-7b", "smolvlm2-256m"])
    benchmarks = ["res", "png", "reasonseg", "pope", "mmbench"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "DRIVERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return evaluating(params, benchmarks)


def evaluating(params: Params, benchmarks: list[str]) -> Params:
    return params.model_copy(
        update={"evaluate": params.evaluate.model_copy(update={"benchmarks": benchmarks})}
    )


def row(text: str, *words: str) -> list[str]:
    """The cells of the table's row that begins with these words."""
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line
    ]
    return next(cells for cells in rows if cells[: len(words)] == list(words))


def test_known_bytes_are_summed_and_what_is_missing_is_named(paper: Params) -> None:
    text, missing = planned(paper)
    known = sum(source.bytes or 0 for source in paper.active.sources.values())
    assert f"to download: {known / 2**30:.1f} GiB, and 5 files of unknown size" in text
    assert [what.split(":")[0] for what in missing if "nobody serves" in what] == [
        "png_coco_train2017.json",
        "png_coco_val2017.json",
        "ReasonSeg_val.zip",
        "ReasonSeg_test.zip",
    ]
    assert any(what.startswith("smolvlm2-256m: its configuration is not on this machine") for what in missing)
    assert any(what.startswith("a GPU") for what in missing)


def test_only_the_files_of_the_chosen_benchmarks_count(paper: Params) -> None:
    text, missing = planned(evaluating(paper, ["res"]))
    assert "ReasonSeg" not in text and "coco_pope" not in text and "MMBench" not in text
    assert len([what for what in missing if "nobody serves" in what]) == 2  # training speaks PNG, too
    left = sum(
        source.bytes or 0
        for name, source in paper.active.sources.items()
        if name not in ("val2014.zip", "val2017.zip") and "pope" not in name
    )
    assert f"to download: {left / 2**30:.1f} GiB, and 3 files" in text


def test_a_benchmark_without_data_is_missing(paper: Params) -> None:
    _, missing = planned(evaluating(paper, ["res", "viscot"]))
    assert "viscot: suite paper has no dataset for it; take it out of evaluate.benchmarks" in missing


def test_what_is_on_the_disk_need_not_be_downloaded(paper: Params) -> None:
    folder = paths.raw(paper)
    folder.mkdir(parents=True)
    for name in ("train2017.zip", "png_coco_val2017.json"):
        (folder / name).touch()
    Path("elsewhere.zip").write_bytes(b"12345")
    sources = dict(paper.active.sources)
    sources["refcoco.zip"] = sources["refcoco.zip"].model_copy(update={"url": "file:elsewhere.zip"})
    suite = paper.active.model_copy(update={"sources": sources})
    text, missing = planned(paper.model_copy(update={"suites": {**paper.suites, "paper": suite}}))
    assert row(text, "train2017.zip")[1:] == ["0", "on this disk"]
    assert row(text, "refcoco.zip")[1:] == ["5", "on this disk"]
    assert len([what for what in missing if "nobody serves" in what]) == 3
    left = sum(s.bytes or 0 for n, s in paper.active.sources.items() if n != "train2017.zip")
    assert f"to download: {left / 2**30:.1f} GiB, and 4 files" in text


def test_every_protocol_and_draw_is_counted(paper: Params) -> None:
    text, _ = planned(paper)
    assert row(text, "refcoco-val", "paper")[3] == "3,811"
    assert row(text, "refcoco-val", "standard")[3] == "10,834"
    assert row(text, "refcoco-train", "train")[3] == "42,404"
    assert row(text, "pope-random", "plain")[3] == "3,000"
    assert row(text, "pope-random", "head attached")[3] == "3,000"
    assert "phrases to speak: 980,135 (0 parts counted, 13 by published counts)" in text
    twice = paper.model_copy(update={"extract": paper.extract.model_copy(update={"train_draws": 2})})
    text, _ = planned(twice)
    assert row(text, "refcoco-train", "train, 2 draws")[3] == "84,808"
    assert row(text, "png-train")[3] == "685,000"  # a narrative has one wording
    assert "phrases to speak: 1,107,043 " in text  # and 126,908 objects more


def test_prepared_samples_are_counted_instead_of_published_counts(paper: Params) -> None:
    write_samples(paths.samples(paper, "refcoco-train"), [make_sample(0, targets=2)])
    write_samples(paths.samples(paper, "refcoco-val"), [make_sample(0, targets=2)])
    write_samples(paths.samples(paper, "png-val"), [make_sample(0, dataset="png", targets=2)])
    text, _ = planned(paper)
    # Training speaks a sentence per object, evaluation one (paper) and both (standard) of each, PNG its mentions once.
    expected = 980_135 - 42_404 - (3_811 + 10_834) - 88_000 + 2 + (2 + 4) + 2
    assert f"{expected:,} (3 parts counted, 10 by published counts)" in text
    assert row(text, "png-val", "both")[3:] == ["2", "counted"]
    # Both samples have the same photograph, which counts once.
    images = 65_785 - 16_994 - 1_500 + 1
    assert row(text, "train2014.zip", f"{images:,}")


def test_an_imported_head_needs_no_training_part(paper: Params) -> None:
    head = PublishedHead(url="https://example.org/head.pth", sha256="0" * 64)
    catalogue = {name: entry.model_copy(update={"head": head}) for name, entry in paper.catalogue.items()}
    text, _ = planned(paper.model_copy(update={"catalogue": catalogue}))
    assert "refcoco-train" not in text and row(text, "llava-1.5-7b-head.pth")[2] == "to be downloaded"


def test_image_tokens_are_those_of_the_model_s_grids(paper: Params) -> None:
    one, two = (
        costs.shape_of(name, paper.catalogue[name]) for name in ("llava-1.5-7b", "llava-next-vicuna-7b")
    )
    assert one is not None and two is not None
    assert (one.image_tokens, two.image_tokens) == (576, 2_304)
    assert 3 < two.speaking_seconds(1_000, 0) / one.speaking_seconds(1_000, 0) < 4
    assert one.answering_seconds(10, 10, 16) > one.speaking_seconds(10, 0)
    assert (
        one.answering_seconds(10, 100, 16) < one.answering_seconds(100, 100, 16) / 4
    )  # ten about each picture


def test_second_looks_are_counted(paper: Params) -> None:
    def answers(questions: int) -> tuple[int, int]:
        thoughts = paper.evaluate.thoughts.model_copy(update={"questions": questions})
        asking = evaluating(paper, ["pope"]).evaluate.model_copy(update={"thoughts": thoughts})
        graph = Graph(paper.model_copy(update={"evaluate": asking}))
        parts = (counts.part_counts(graph, f"pope-{split}") for split in ("random", "popular", "adversarial"))
        return counts.asked(graph, [part for part in parts if part])

    (pictures, plain), (more, looked) = answers(0), answers(25)
    assert plain == 2 * 9_000 and pictures <= plain
    assert looked - plain == more - pictures == 3 * 25 * 2  # the object, and the question once more


def test_embeddings_and_weights_are_part_of_the_disk(paper: Params) -> None:
    text, _ = planned(evaluating(paper, ["res"]))
    assert row(text, "train2014.zip", "65,785")[2] == f"{65_785 * 256 * 64 * 64 * 2 / 2**30:.1f} GiB"
    assert f"{2 * 7.1e9 / 2**30:.1f} GiB weights of models" in text


def test_too_little_disk_is_missing(paper: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: usage(2**50, 0, 2**50))
    assert not any("disk space" in what for what in planned(paper)[1])
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: usage(2**50, 2**50, 0))
    assert any("disk space" in what for what in planned(paper)[1])


def test_a_local_model_is_planned_from_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    text, missing = planned(load_params())
    assert row(text, "shapes-llava")[1:3] == ["3.3 MiB", "256"]
    assert missing == []
    assert "an embedding: 64 x 24 x 24 float16" in text


def test_the_command_takes_another_suite_and_refuses_unknown_ones() -> None:
    result = CliRunner().invoke(app, ["--params", str(PROJECT / "params.yaml"), "plan", "--suite", "paper"])
    assert (
        result.exit_code == 0 and "sam_vit_l_0b3195.pth" in result.output and "glm-4.1v-9b" in result.output
    )
    for options in (["--suite", "moon"], ["--backbones", "nobody"]):
        refused = CliRunner().invoke(app, ["--params", str(PROJECT / "params.yaml"), "plan", *options])
        assert isinstance(refused.exception, InputError)


def test_the_paper_s_ten_backbones_fit_on_one_disk(paper: Params) -> None:
    loads = [Load(name, shape, 811_908, 168_227) for name, shape in costs._SHAPES.items()]
    small = paper.extract.model_copy(update={"heads": 64, "layers": 4, "keep_training_maps": False})
    total, most = disk(loads, small)
    assert total < 1.5 * 2**40 and most < 0.4 * 2**40
    whole = paper.extract.model_copy(update={"attention": "float16", "hidden": "float16"})
    shape = costs._SHAPES["llava-1.5-7b"]
    assert phrase_columns(shape, small).total <= phrase_columns(shape, whole).total / 8
    # Two grids hold each head twice; a model with fewer heads keeps what it has.
    two = phrase_columns(costs._SHAPES["llava-next-vicuna-7b"], small)
    assert two.attention == 64 * (576 + 1728 + 2 * 4) and two.hidden == 3 * 4 * (4096 + 4)
    mgm = costs._SHAPES["mgm-2b"]
    many = phrase_columns(mgm, small.model_copy(update={"heads": 500, "layers": 500}))
    assert many == phrase_columns(mgm, small.model_copy(update={"heads": "all", "layers": "all"}))


def test_other_settings_are_told_beside_the_present_one(paper: Params) -> None:
    text, _ = planned(paper)
    shape = costs._SHAPES["llava-1.5-7b"]
    columns = phrase_columns(shape, paper.extract)
    assert row(text, "llava-1.5-7b", "580.0 KiB")[4:] == [f"{columns.total / 1024:.1f} KiB", "1 / 2.0"]
    now = row(text, "all (now)", "all", "true")
    assert now[3] == now[4] == row(text, "llava-1.5-7b", "13.2 GiB")[3]
    # Of one backbone, all of it lies there while its head is trained.
    assert row(text, "64", "4", "false")[3] == row(text, "64", "4", "false")[4] == "79.3 GiB"
