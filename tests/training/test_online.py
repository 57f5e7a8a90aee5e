"""A head trained with the LMM and SAM in the loop is the one trained on their caches, but for the caches' codes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from flmm.data.sample import Piece, Sample, Target, encode_rle, write_samples
from flmm.embed import embed
from flmm.errors import InputError, StepError
from flmm.extract import extract
from flmm.heads.segmenter import Segmenter
from flmm.params import Params
from flmm.pilot import pilot, read_pilot
from flmm.training import train
from flmm.training.online import OnlineImages, train_online
from flmm.training.trainer import LOSSES
from tests.tiny_models import save_llava

from .synthetic import BACKBONE, KEY, make_params, write_sam
from .test_train import Interrupted, assert_same_results, curves, interrupt_at

PARTS = ("refcoco-train", "png-train")


def target(number: int, *sentences: str) -> Target:
    mask = np.zeros((30, 40), dtype=bool)
    mask[4 * number : 4 * number + 12, 3 : 15 + number] = True
    return Target(f"t{number}", sentences, encode_rle(mask), "dog", True, False)


def sample(number: int, narrative: tuple[Piece, ...] = ()) -> Sample:
    targets = (target(0, "the dog", "a brown dog"), target(1, "a star"))
    return Sample(
        f"s{number}", "any", "train", number, "train2014", f"{number}.jpg", 30, 40, targets, narrative
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs of noise, samples of two parts, a tiny LLaVA and a tiny SAM."""
    folder = tmp_path_factory.mktemp("world")
    pictures = folder / "train2014"
    pictures.mkdir()
    generator = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(
            pictures / f"{number}.jpg"
        )
    narrative = (Piece("There is", -1), Piece("a dog", 0), Piece("and", -1), Piece("a star", 1))
    silent = (Piece("There is nothing", -1),)
    write_samples(folder / "refcoco-train.parquet", [sample(number) for number in range(3)])
    told = [
        replace(sample(3), sample_id="n3", narrative=narrative),
        replace(sample(2), sample_id="n2", narrative=silent),
    ]
    write_samples(folder / "png-train.parquet", told)
    save_llava(folder / "model")
    write_sam(folder / "sam")
    return folder


def params_of(world: Path, *, heads: int | str = "all", **values: Any) -> Params:
    params = make_params(world / "sam", batch_size=3, epochs=2, **values)
    entry = params.catalogue[BACKBONE].model_copy(update={"model": str(world / "model")})
    settings = {
        "attention": "float16",
        "hidden": "float16",
        "train_draws": 2,
        "device": "cpu",
        "heads": heads,
    }
    return params.model_copy(
        update={
            "catalogue": {**params.catalogue, BACKBONE: entry},
            "extract": params.extract.model_copy(update=settings),
        }
    )


def tables(world: Path) -> list[Path]:
    return [world / f"{part}.parquet" for part in PARTS]


def online(world: Path, out: Path, params: Params, on_step: Any = None, selection: Any = None) -> Path:
    where = {"key": KEY, "checkpoints": out / "checkpoints", "raw": world, "on_step": on_step}
    train_online(params, BACKBONE, tables(world), selection, out, **where)
    return out


def cached(world: Path, out: Path, params: Params, selection: Any = None) -> Path:
    for part, table in zip(PARTS, tables(world), strict=True):
        extract(params, BACKBONE, part, table, world, out / "maps" / part, KEY, selection)
    embed(params, "train2014", tables(world), world, out / "embed", KEY)
    manifests = [out / "maps" / part / "manifest.json" for part in PARTS]
    where = {"key": KEY, "checkpoints": out / "checkpoints", "raw": world}
    train(params, BACKBONE, manifests, [out / "embed" / "manifest.json"], out, **where)
    return out


@pytest.mark.parametrize(("storage", "close"), [("float16", 2e-3), ("log8", 0.03)])
def test_the_curve_is_that_of_a_cached_training(
    world: Path, tmp_path: Path, storage: str, close: float
) -> None:
    params = params_of(world, lr=1.0e-4)
    coded = params.extract.model_copy(update={"attention": storage, "hidden": storage})
    kept = curves(cached(world, tmp_path / "cached", params.model_copy(update={"extract": coded})))
    live = curves(online(world, tmp_path / "online", params))
    assert len(live) == len(kept) == 2 * 3  # 7 answers: two draws of three samples, one narrative
    for mine, theirs in zip(live, kept, strict=True):
        assert (mine["step"], mine["epoch"], mine["lr"]) == (theirs["step"], theirs["epoch"], theirs["lr"])
        assert [mine[name] for name in LOSSES] == pytest.approx([theirs[name] for name in LOSSES], rel=close)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("cached", "online")]
    for name in ("answers", "phrases", "steps", "trainable_parameters"):
        assert summaries[0][name] == summaries[1][name], name
    assert (
        load_file(tmp_path / "cached/head.safetensors").keys()
        == load_file(tmp_path / "online/head.safetensors").keys()
    )


def test_equal_runs_are_equal_bytes_whatever_the_workers_and_after_a_kill(
    world: Path, tmp_path: Path
) -> None:
    whole = online(world, tmp_path / "whole", params_of(world))
    with pytest.raises(Interrupted):
        online(world, tmp_path / "killed", params_of(world, workers=2), interrupt_at(3))
    assert_same_results(whole, online(world, tmp_path / "killed", params_of(world, workers=1)))


def test_a_pilot_s_heads_are_the_head_s(world: Path, tmp_path: Path) -> None:
    params = params_of(world, heads=5, lr=1.0e-4)
    pilot(params, BACKBONE, tables(world), world, tmp_path / "pilot")
    chosen = read_pilot(tmp_path / "pilot" / "heads.json")
    live = curves(online(world, tmp_path / "online", params, selection=chosen))
    kept = curves(cached(world, tmp_path / "cached", params, chosen))
    assert live[0]["loss"] == pytest.approx(kept[0]["loss"], rel=2e-3)


def test_samples_without_a_phrase_and_absent_photographs_are_named(world: Path, tmp_path: Path) -> None:
    silent = replace(sample(0), narrative=(Piece("nothing", -1),))
    write_samples(tmp_path / "silent.parquet", [silent])
    with pytest.raises(InputError, match=r"silent\.parquet: no answer to train on"):
        images(world, [tmp_path / "silent.parquet"])
    write_samples(tmp_path / "absent.parquet", [sample(0), sample(9)])
    with pytest.raises(InputError, match=r"9\.jpg"):
        images(world, [tmp_path / "absent.parquet"]).stored(2)


def test_a_value_that_is_not_finite_names_the_answer(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segmenter, "embed", lambda *_: torch.full((1, 16, 4, 4), torch.nan))
    with pytest.raises(
        StepError, match=r"s\d/train/\d: a value .* is not finite; try .*embed\.dtype: float32"
    ):
        online(world, tmp_path, params_of(world))


def images(world: Path, samples: list[Path]) -> OnlineImages:
    return OnlineImages(params_of(world), BACKBONE, samples, None, world, torch.device("cpu"))
