"""The rehearsal: the files that it makes up are of the upstream layouts, and the paper's suite runs on them."""

import copy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from flmm.data.images import decode_image
from flmm.errors import InputError
from flmm.params import Suite, load_params, parse_params
from flmm.pipeline.needs import family_problem
from flmm.shipped import MODELS
from rehearsal.mirror import write_mirror
from rehearsal.photographs import LONGEST
from tests.tiny_models import BUILDERS

PROJECT = Path(__file__).parents[1]
FAMILIES = "llava"  # three take ten minutes of a core


def paper(**sources: Any) -> Suite:
    """The paper's suite of params.yaml, with further sources."""
    raw = copy.deepcopy(yaml.safe_load((PROJECT / "params.yaml").read_text()))
    raw |= {"suite": "paper", "backbones": ["llava-1.5-7b"]}
    raw["suites"]["paper"]["sources"] |= sources
    return parse_params(raw).active


def test_a_source_that_nobody_makes_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"differ by annotations_of_tomorrow\.zip"):
        write_mirror(
            tmp_path,
            paper(**{"annotations_of_tomorrow.zip": {"url": None, "bytes": None, "sha256": None}}),
            7,
        )


def test_photographs_have_the_sizes_of_coco_s_and_one_is_grey(tmp_path: Path) -> None:
    write_mirror(tmp_path, paper(), 7)
    modes = set()
    for archive in ("train2014", "train2017", "val2017", "val2014", "ReasonSeg_val", "GranDf_HA_images"):
        with zipfile.ZipFile(tmp_path / f"{archive}.zip") as opened:
            for name in (name for name in opened.namelist() if name.endswith(".jpg")):
                with opened.open(name) as file, Image.open(file) as image:
                    modes.add(image.mode)
                assert max(decode_image(opened.read(name), name).size) == LONGEST
    assert modes == {"RGB", "L"}


def test_every_family_of_the_catalogue_has_a_tiny_model() -> None:
    catalogue = load_params(PROJECT / "params.yaml").catalogue
    paper_s = {entry.family for name, entry in catalogue.items() if entry.suite == "paper"}
    assert paper_s == set(BUILDERS)
    assert not [name for name, entry in catalogue.items() if family_problem(name, entry)]


@pytest.mark.pipeline
def test_the_paper_s_suite_runs_in_small(tmp_path: Path) -> None:
    """With the tiny SAM: a random ViT-B, which `make rehearse` takes, would need minutes for its few pictures."""
    options = {"families": FAMILIES, "work": tmp_path, "cores": 1, "segmenter": MODELS / "shapes-sam"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "rehearsal", *words]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Every benchmark of every backbone is in the report, and every step in MLflow." in run.stdout
