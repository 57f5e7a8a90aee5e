"""Preflight: everything that would stop a run is said at once, and only about the steps that run."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from flmm import device
from flmm.errors import InputError
from flmm.params import Params, parse_params
from flmm.pipeline import needs, paths
from flmm.pipeline.preflight import preflight
from flmm.pipeline.state import State

PROJECT = Path(__file__).parents[1]
Raw = dict[str, Any]


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Raw:
    """The shapes suite's params in a folder where nothing has run, on a machine without a GPU and with the hub."""
    content: Raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    content["catalogue"]["shapes-llava"]["model"] = str(PROJECT / "flmm/shapes/models/shapes-llava")
    content["suites"]["shapes"]["segmenter"]["checkpoint"] = str(PROJECT / "flmm/shapes/models/shapes-sam")
    rival = content["suites"]["shapes"]["rivals"]["shapes-llava-seg"]
    rival["model"] = str(PROJECT / rival["model"])
    content["backbones"] = ["shapes-llava"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "DRIVERS", ())
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    for name in ("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return content


@pytest.fixture
def paper(raw: Raw) -> Raw:
    raw |= {"suite": "paper", "backbones": ["llava-1.5-7b"]}
    raw["evaluate"]["benchmarks"] = ["res"]
    return raw


def by_hand(paper: Raw) -> None:
    """Put the two files of PNG there, which training needs and nobody serves."""
    folder = Path("data/raw/paper")
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        (folder / f"png_coco_{split}2017.json").write_text("[]")


def test_a_rival_whose_model_is_gone_is_named_with_its_key(raw: Raw) -> None:
    raw["suites"]["shapes"]["rivals"]["shapes-llava-seg"]["model"] = "nowhere"
    assert "suites.shapes.rivals.shapes-llava-seg.model: nowhere: no such directory" in findings(raw)


def findings(params: Params | Raw) -> str:
    state = State(parse_params(params) if isinstance(params, dict) else params)
    with pytest.raises(InputError) as error:
        preflight(state)
    return str(error.value)


def test_nothing_is_wrong_with_the_shapes_suite(raw: Raw) -> None:
    preflight(State(parse_params(raw)))


def test_all_findings_come_at_once(raw: Raw) -> None:
    raw["catalogue"]["shapes-llava"] |= {"family": "lava", "model": "models/absent/here"}
    for section in ("extract", "embed", "evaluate"):
        raw[section]["device"] = "cuda"
    sources = raw["suites"]["shapes"]["sources"]
    sources["cot.zip"]["url"] = "file:elsewhere/cot.zip"
    sources["viscot_shapes.json"]["url"] = "s3:bucket/viscot_shapes.json"
    sources["ReasonSeg_val.zip"]["url"] = None
    said = findings(raw)
    assert said.startswith("8 things would stop this run: ")
    for sentence in (
        "catalogue.shapes-llava.family: unknown backbone family 'lava'; there are: deepseek_vl, ",
        "catalogue.shapes-llava.model: models/absent/here: no such model directory",
        "extract.device: cuda, but no GPU",
        "embed.device: cuda, but no GPU",
        "evaluate.device: cuda, but no GPU",
        "elsewhere/cot.zip: no such file; it is the url of suites.shapes.sources.cot.zip",
        "suites.shapes.sources.viscot_shapes.json.url: s3: is not http, https or file",
        "ReasonSeg_val.zip: nobody serves it: get the file from https://github.com/dvlab-research/LISA",
    ):
        assert sentence in said


def test_what_no_running_step_reads_is_no_finding(raw: Raw) -> None:
    """Without ReasonSeg and questions nothing asks for the file, nor for a GPU in `evaluate`."""
    raw["suites"]["shapes"]["sources"]["ReasonSeg_val.zip"]["url"] = None
    assert "ReasonSeg_val.zip" in findings(raw)
    raw["evaluate"]["benchmarks"] = ["res"]
    preflight(State(parse_params(raw)))


@pytest.mark.parametrize("section", ["extract", "embed", "evaluate"])
def test_the_device_key_is_named(raw: Raw, section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = parse_params(raw)
    changed = getattr(params, section).model_copy(update={"device": "cuda"})
    params = params.model_copy(update={section: changed})
    assert findings(params) == f"{section}.device: cuda, but no GPU is available; set it to auto or cpu"
    preflight(State(params), here=False)  # a cluster's nodes may have what this machine lacks
    monkeypatch.setattr(device, "DRIVERS", ("/dev/null",))
    preflight(State(params))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert section in findings(params)


def test_files_by_hand_are_named_with_their_page_until_they_are_there(paper: Raw) -> None:
    said = findings(paper)
    for split in ("train", "val"):
        assert f"png_coco_{split}2017.json: nobody serves it" in said
    assert "https://bcv-uniandes.github.io/panoptic-narrative-grounding/#downloads" in said
    by_hand(paper)
    preflight(State(parse_params(paper)))


def test_a_local_file_of_another_size_is_named(paper: Raw) -> None:
    by_hand(paper)
    Path("sam.pth").write_bytes(b"123")
    paper["suites"]["paper"]["sources"]["sam_vit_l_0b3195.pth"] |= {"url": "sam.pth", "sha256": None}
    assert findings(paper).startswith("sam.pth: 3 bytes instead of the 1249524607 that params.yaml expects")


def test_the_hub_may_be_out_of_reach(paper: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand(paper)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert findings(paper).startswith(
        "catalogue.llava-1.5-7b.model: llava-hf/llava-1.5-7b-hf at revision b234"
    )
    entry = parse_params(paper).catalogue["llava-1.5-7b"]
    snapshot = tmp_path / "hub/models--llava-hf--llava-1.5-7b-hf/snapshots" / str(entry.revision)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    preflight(State(parse_params(paper)))


def test_a_directory_without_a_model(raw: Raw, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    raw["catalogue"]["shapes-llava"]["model"] = str(folder)
    assert "is not a model directory (no config.json)" in findings(raw)
    (folder / "config.json").write_text("{}")
    assert "holds no weights" in findings(raw)
    (folder / "model.safetensors").touch()
    preflight(State(parse_params(raw)))


def test_downloads_need_their_space(paper: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand(paper)
    state = State(parse_params(paper))
    names = [step.item for step in state.running if step.name == "download"]
    total = sum(state.graph.params.sources[name].bytes or 0 for name in names)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: usage(2**50, 0, total))
    preflight(state)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: usage(2**50, 0, total - 1))
    said = findings(state.graph.params)
    assert f"the downloads to come have {total:,} bytes, but only {total - 1:,} are free" in said
    part = paths.raw(state.graph.params) / "train2014.zip.part"
    part.write_bytes(b"1")  # what is here already need not come again
    preflight(state)


def test_a_published_head_that_is_not_there(raw: Raw, tmp_path: Path) -> None:
    raw["catalogue"]["shapes-llava"]["head"] = {"url": "heads/mine.pth", "sha256": "0" * 64}
    said = findings(raw)
    assert said == "heads/mine.pth: no such file; it is the url of catalogue.shapes-llava.head in params.yaml"
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads/mine.pth").touch()
    assert findings(raw).startswith("heads/mine.pth: ")  # an empty file is no head


def test_a_published_head_that_does_not_fit(raw: Raw) -> None:
    def with_head_of(model: str) -> Params:
        file = PROJECT / "flmm/shapes/heads" / model / "head.safetensors"
        raw["catalogue"]["shapes-llava"]["head"] = {"url": str(file), "sha256": "0" * 64}
        return parse_params(raw)

    preflight(State(with_head_of("shapes-llava")))
    assert "a head for 32 attention channels" in findings(with_head_of("shapes-llava-next"))


def test_a_segmenter_that_is_not_there(raw: Raw) -> None:
    raw["suites"]["shapes"]["segmenter"]["checkpoint"] = "models/sam"
    assert "suites.shapes.segmenter.checkpoint: models/sam is neither" in findings(raw)


def test_it_hashes_no_file_asks_nobody_and_needs_no_torch(
    paper: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it costs milliseconds."""
    by_hand(paper)
    state = State(parse_params(paper))
    assert state.running
    with monkeypatch.context() as patched:
        for slow in ("flmm.pipeline.hashes.sha256_file", "socket.socket.connect", "socket.getaddrinfo"):
            patched.setattr(slow, lambda *_, slow=slow: pytest.fail(slow))
        preflight(state)
    code = "import flmm.pipeline.preflight, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout.strip() == "False"


def test_every_family_of_the_catalogue_is_known(raw: Raw) -> None:
    for name, entry in parse_params(raw).catalogue.items():
        assert needs.family_problem(name, entry) is None
