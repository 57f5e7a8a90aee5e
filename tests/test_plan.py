"""`flmm plan`: sums of what is known, and every unknown or missing thing by name."""

import io
from collections import namedtuple
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flmm import paths, plan
from flmm.cli import app
from flmm.data.sample import write_samples
from flmm.errors import InputError
from flmm.params import Params, load_params
from tests.evaluation.conftest import make_sample

PROJECT = Path(__file__).parents[1]


def planned(params: Params) -> tuple[str, list[str]]:
    text = io.StringIO()
    missing = plan.plan(params, Console(width=200, file=text))
    return text.getvalue(), missing


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    params = load_params(PROJECT / "params.yaml", suite="paper", backbones=["llava-1.5-7b", "smolvlm2-256m"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "_has_gpu", lambda: False)
    return params


def test_known_bytes_are_summed_and_what_is_missing_is_named(paper: Params) -> None:
    text, missing = planned(paper)
    known = sum(source.bytes or 0 for source in paper.active.sources.values())
    assert f"to download: {known / 2**30:.1f} GiB, and 9 files of unknown size" in text
    assert [what.split(":")[0] for what in missing if "nobody serves" in what] == [
        "png_coco_train2017.json",
        "png_coco_val2017.json",
        "ReasonSeg_val.zip",
        "ReasonSeg_test.zip",
    ]
    assert any(what.startswith("smolvlm2-256m: its configuration is not on this machine") for what in missing)
    assert any(what.startswith("a GPU") for what in missing)


def test_what_is_on_the_disk_need_not_be_downloaded(paper: Params) -> None:
    before, _ = planned(paper)
    folder = paths.raw(paper)
    folder.mkdir(parents=True)
    for name in ("train2017.zip", "png_coco_val2017.json"):
        (folder / name).touch()
    after, missing = planned(paper)
    assert "on this disk" in after and "on this disk" not in before
    assert len([what for what in missing if "nobody serves" in what]) == 3
    left = sum(s.bytes or 0 for n, s in paper.active.sources.items() if n != "train2017.zip")
    assert f"to download: {left / 2**30:.1f} GiB, and 8 files" in after


def test_prepared_samples_are_counted_instead_of_published_counts(paper: Params) -> None:
    text, _ = planned(paper)
    assert "907,365 (0 parts counted, 13 by published counts)" in text
    write_samples(paths.samples(paper, "refcoco-train"), [make_sample(0, targets=2)])
    write_samples(paths.samples(paper, "refcoco-val"), [make_sample(0, targets=2)])
    write_samples(paths.samples(paper, "png-val"), [make_sample(0, dataset="png", targets=2)])
    text, _ = planned(paper)
    # Training speaks a sentence per object, evaluation both of each, PNG its mentions.
    expected = 907_365 - 42_404 - 10_834 - 43_000 + 2 + 4 + 2
    assert f"{expected:,} (3 parts counted, 10 by published counts)" in text


def test_too_little_disk_is_missing(paper: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage(2**50, 0, 2**50))
    assert not any("disk space" in what for what in planned(paper)[1])
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage(2**50, 2**50, 0))
    assert any("disk space" in what for what in planned(paper)[1])


def test_a_local_model_is_planned_from_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    text, _ = planned(load_params())
    assert "shapes-llava" in text and "3.2 MiB" in text


def test_the_command_takes_another_suite_and_refuses_unknown_ones() -> None:
    result = CliRunner().invoke(app, ["--params", str(PROJECT / "params.yaml"), "plan", "--suite", "paper"])
    assert (
        result.exit_code == 0 and "sam_vit_l_0b3195.pth" in result.output and "glm-4.1v-9b" in result.output
    )
    for options in (["--suite", "moon"], ["--backbones", "nobody"]):
        refused = CliRunner().invoke(app, ["--params", str(PROJECT / "params.yaml"), "plan", *options])
        assert isinstance(refused.exception, InputError)
