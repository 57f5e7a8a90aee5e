"""Attention seen: regions of single heads, kinds of maps, readable grids, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flmm.attention.clusters import clusters
from flmm.attention.drawing import COLUMNS, ROWS, chosen_heads
from flmm.attention.heads import cached, cached_part, overlaps, single_head_iou
from flmm.attention.phrases import file_names
from flmm.backbones.base import Observation
from flmm.cache.schema import Manifest
from flmm.cli import app
from flmm.errors import InputError
from flmm.params import load_params
from flmm.shapes.world.scenes import make_scene, scene_seed
from tests.cache.conftest import part  # noqa: F401


def corner(top: int, left: int) -> np.ndarray:
    maps = np.full((8, 8), 0.001, np.float32)
    maps[top : top + 4, left : left + 4] = 1
    return maps


def test_a_head_that_looks_at_the_truth_beats_one_that_looks_away() -> None:
    truth = np.zeros((64, 64), bool)
    truth[:32, :32] = True
    ious = overlaps(np.stack([corner(0, 0), corner(4, 4)])[None], truth)
    assert ious.shape == (1, 2)
    assert ious[0, 0] > 0.7
    assert ious[0, 1] < 0.1


def test_no_phrase_is_an_error() -> None:
    with pytest.raises(InputError, match="no phrase"):
        single_head_iou([])


def test_the_cache_gives_maps_of_the_fine_grid_and_true_pixels(
    part: tuple[Manifest, list[Observation]],  # noqa: F811
) -> None:
    known = list(cached(part[0].folder, "train"))
    assert [masks.shape for _, masks in known] == [(2, 18, 32)] * 6
    ious, count = single_head_iou(known, phrases=5)
    assert (ious.shape, count) == ((3, 2), 5)


def test_without_a_run_there_is_no_cached_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(Path("params.yaml").resolve())
    monkeypatch.chdir(tmp_path)
    assert cached_part(params, "shapes-llava", "refcoco-val") is None


def test_maps_that_look_alike_are_one_kind_and_the_best_kind_is_first() -> None:
    maps = np.stack([np.stack([corner(0, 0), corner(4, 4)]) for _ in range(3)])  # (L 3, H 2, 8, 8)
    ious = np.array([[0.1, 0.9]] * 3)
    best, other = clusters(maps, ious, count=2)
    assert best.heads == ((0, 1), (1, 1), (2, 1))
    assert best.iou == pytest.approx(0.9)
    assert other.heads == ((0, 0), (1, 0), (2, 0))
    assert best.mean.sum() == pytest.approx(1, abs=1e-5)


def test_more_kinds_than_maps_is_an_error() -> None:
    with pytest.raises(InputError, match="9 asked of 4"):
        clusters(np.ones((2, 2, 3, 3), np.float32), np.ones((2, 2)), count=9)


def test_a_big_model_shows_its_best_layers_and_heads() -> None:
    agreement = np.zeros((32, 32))
    agreement[20, 30], agreement[3, 7] = 0.9, 0.8
    rows = chosen_heads(agreement)
    assert (len(rows), {len(row) for row in rows}) == (ROWS, {COLUMNS})
    assert [row[0][0] for row in rows] == sorted(row[0][0] for row in rows)
    firsts = [row[0] for row in rows]
    assert (20, 30) in firsts
    assert (3, 7) in firsts


def test_a_small_model_shows_every_head_by_number() -> None:
    assert chosen_heads(np.zeros((2, 3))) == [[(0, 0), (0, 1), (0, 2)], [(1, 0), (1, 1), (1, 2)]]


def test_names_of_files_differ() -> None:
    assert file_names("a", ["the cat", "the/cat", "?"]) == [
        "a-the-cat.png",
        "a-the-cat-2.png",
        "a-phrase.png",
    ]


def test_the_command_writes_a_picture_for_each_phrase_and_numbers(tmp_path: Path) -> None:
    scene = make_scene(scene_seed("attention", 0, 1))
    Image.fromarray(scene.image).save(tmp_path / "scene.png")
    phrase = f"the {scene.things[0].name}"
    command = ["attention", str(tmp_path / "scene.png"), phrase, "--device", "cpu"]
    result = CliRunner().invoke(app, [*command, "--save", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    (told,) = json.loads(result.stdout)
    assert (told["phrase"], told["layers"], told["heads"]) == (phrase, 4, 4)
    assert np.shape(told["iou_with_mask"]) == (4, 4)
    best = told["strongest"][0]
    assert best["iou"] == np.max(told["iou_with_mask"]) == told["iou_with_mask"][best["layer"]][best["head"]]
    assert Image.open(told["file"]).format == "PNG"
