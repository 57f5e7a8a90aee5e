"""A small made-up results tree: every value differs, so that a test can look each one up on the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from flmm.benchmarks import benchmark
from flmm.params import Params, parse_params
from flmm.pipeline import paths

PROJECT = Path(__file__).parents[2]
RES_METRICS, PNG_METRICS, POPE_METRICS = (
    [metric.name for metric in benchmark(name).metrics if metric.name != "answers_equal"]
    for name in ("res", "png", "pope")
)
RIVAL = "shapes-llava-seg"
HEADS = ("untrained", "untrained+sam", "unet", "unet+sam")


@pytest.fixture
def params() -> Params:
    """The project's own params, whatever else changes in them: the shapes suite with all four benchmarks."""
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    raw["backbones"] = ["shapes-llava"]
    raw["evaluate"] |= {"benchmarks": ["res", "png", "pope", "mmbench"], "protocols": ["paper", "standard"]}
    raw["report"]["gallery"] = 5
    return parse_params(raw)


def write(path: Path, value: Any) -> None:
    """Write JSON, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def made_up_records(backbone: str) -> dict[str, list[dict[str, Any]]]:
    """Records of the four benchmarks by their results folder; no two values print alike."""
    found: dict[str, list[dict[str, Any]]] = {"res": [], "png": [], "pope": [], "mmbench": []}

    def add(folder: str, head: str, benchmark: str, split: str, protocol: str, metric: str) -> None:
        number = sum(len(rows) for rows in found.values())
        value = (101 + number * 3.0) / 10 if folder in ("res", "png") else (101 + number) / 1000
        found[folder].append(
            {"suite": "shapes", "backbone": backbone, "head": head, "benchmark": benchmark, "split": split,
             "protocol": protocol, "metric": metric, "value": value, "low": value * 0.9, "high": value * 1.07,
             "n": 1200 + number, "images": 397}
        )  # fmt: skip

    for protocol in ("standard", "paper"):
        for head in HEADS:
            for split in ("val", "testA", "testB"):
                for metric in RES_METRICS:
                    add("res", head, "refcoco", split, protocol, metric)
            for metric in PNG_METRICS:
                add("png", head, "png", "val", protocol, metric)
    for head in ("none", "unet+sam"):
        for split in ("random", "popular", "adversarial"):
            for metric in POPE_METRICS:
                add("pope", head, "pope", split, "upstream", metric)
        for metric in ("circular_accuracy", "plain_accuracy", "circular_accuracy/counting"):
            add("mmbench", head, "mmbench", "dev", "upstream", metric)
    return found


@pytest.fixture
def tree(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a complete results tree and what prepare counted into a project folder; give the results."""
    monkeypatch.chdir(tmp_path)

    def make(phrase: str = "the red circle left of the star") -> Path:
        results = tmp_path / "results"
        for backbone in params.backbones:
            base = results / "shapes" / backbone
            records = [record for found in made_up_records(backbone).values() for record in found]
            write(paths.metrics(params, backbone), records)
            for name, dataset in (("res", "refcoco"), ("png", "png")):
                write_overlays(paths.overlays(params, backbone, name), dataset, phrase)
                write(paths.evaluated(params, backbone, name) / "facts.json", {"left_out": {}})
            for name in ("pope", "mmbench"):
                facts = {
                    "answers": 1200, "answers_equal": 1200, "masks": 1350, "equal": True,
                    "weights_hash_before": "a" * 64, "weights_hash_after": "a" * 64,
                }  # fmt: skip
                write(paths.evaluated(params, backbone, name) / "facts.json", facts)
            scores = {
                "linear": {"precision": 91.25, "recall": 81.5, "f1": 86.1},
                "rule": {"precision": 61.0, "recall": 51.0, "f1": 55.6},
            }
            left_out = {"spacy": "spaCy is not installed"}
            write(paths.keywords(params, backbone) / "scores.json", {"scores": scores, "left_out": left_out})
            write_curves(base / "train" / "curves.jsonl")
            parts = {"mask_head": 500_000, "prompt_encoder": 6_000, "mask_decoder": 61_000, "text": 8_200}
            write(
                base / "train" / "summary.json",
                {"trainable_parameters": 575_200, "trainable_parameters_by_part": parts, "answers": 2900,
                 "phrases": 9100, "epochs": 1, "steps": 400},
            )  # fmt: skip
        write(paths.rival(params, RIVAL) / "metrics.json", rival_records())
        for part, counted in summary().items():
            write(paths.counts(params, part), counted)
        return results

    return make


def rival_records() -> list[dict[str, Any]]:
    """As `rival` writes them: masks and answers of the fine-tuned LMM."""
    rows = [
        ("refcoco", "val", "standard", "cIoU", 41.25),
        ("refcoco", "val", "standard", "gIoU", 40.0),
        ("pope", "random", "upstream", "accuracy", 0.512),
        ("mmbench", "dev", "upstream", "circular_accuracy", 0.0),
    ]
    return [
        {"suite": "shapes", "backbone": RIVAL, "head": "fine-tuned", "benchmark": benchmark, "split": split,
         "protocol": protocol, "metric": metric, "value": value, "low": value, "high": value, "n": 9, "images": 3}
        for benchmark, split, protocol, metric, value in rows
    ]  # fmt: skip


def write_overlays(folder: Path, dataset: str, phrase: str) -> None:
    """Four strips of 1054 x 296 pixels and their list."""
    entries = []
    for number, kind in enumerate(("worst", "median", "median", "best")):
        picture = Image.new("RGB", (1054, 296), (40 * number, 90, 120))
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number:02d}-{kind}.png")
        ious = {"unet": 0.1 + 0.2 * number, "unet+sam": 0.15 + 0.2 * number}
        entries.append(
            {"file": f"{number:02d}-{kind}.png", "kind": kind, "rank": 1 + 133 * number, "of": 400, "phrase": phrase,
             "sample": f"{dataset}-{number}",
             "dataset": dataset, "split": "val", "protocol": "standard", "ious": ious}
        )  # fmt: skip
    write(folder / "overlays.json", entries)


def write_curves(path: Path) -> None:
    """400 steps of falling losses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, 401):
        part = 0.1 + 60 / (step + 80) + 0.03 * (step % 7)
        keys = (
            "loss_coarse_bce",
            "loss_coarse_dice",
            "loss_refined_bce",
            "loss_refined_dice",
            "gradient_norm",
        )
        row = {
            "step": step,
            "epoch": 0,
            "loss": 4 * part,
            "lr": 1e-3 * (1 - step / 400),
            **dict.fromkeys(keys, part),
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary() -> dict[str, Any]:
    """As `prepare` writes it."""
    part = {
        "images": 1900,
        "samples": 1900,
        "targets": 4100,
        "skipped": {"target: mask without pixels": 3},
        "sha256": "b" * 64,
    }
    overlap = {"evaluation_images": 37, "samples": 41, "excluded_samples": 41}
    return {"refcoco-train": {**part, "overlap": overlap}, "refcoco-val": {**part, "skipped": {}}}
