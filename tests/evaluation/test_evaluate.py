"""The whole step on tiny random models: real LMM, real head, real files."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from flmm.benchmarks import benchmark
from flmm.data.question import Question, write_questions
from flmm.data.sample import write_samples
from flmm.embed import embed
from flmm.errors import InputError
from flmm.evaluation.count import count
from flmm.evaluation.overlays import overlays
from flmm.evaluation.run import evaluate
from flmm.evaluation.score import score
from flmm.evaluation.select import read_selection, select
from flmm.evaluation.tables import ANSWER_SCHEMA, PREDICTION_SCHEMA, THOUGHT_SCHEMA
from flmm.files import write_table
from flmm.heads.checkpoint import HeadConfig, save_head
from flmm.heads.model import build_head
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.params import Head, Params, parse_params
from flmm.pipeline.paths import samples
from flmm.pipeline.steps import Graph
from tests.evaluation.conftest import (
    CHANNELS,
    HEADS,
    HEIGHT,
    HIDDEN,
    LAYERS,
    WIDTH,
    make_question,
    make_sample,
    write_part,
)
from tests.tiny_models import save_llava

PROJECT = Path(__file__).resolve().parents[2]
WAYS = {"named-object", "whole-question", "plain"}
TINY_SAM: dict[str, Any] = {
    "img_size": 48,
    "patch_size": 8,
    "encoder": {
        "depth": 1, "embed_dim": 16, "num_heads": 2, "global_attn_indexes": [0], "window_size": 4,
        "out_chans": 16,
    },
    "prompt": {"embed_dim": 16, "mask_in_chans": 8},
    "decoder": {
        "transformer_depth": 1, "mlp_dim": 16, "num_heads": 2, "iou_head_depth": 2, "iou_head_hidden_dim": 8,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Project:
    """A project folder in which everything before ``evaluate`` has run."""

    root: Path
    params: Params

    def select(self) -> Path:
        select(self.params, [self.root / "extract" / "refcoco-train" / "manifest.json"], self.root / "select")
        return self.root / "select" / "heads.json"

    def evaluate(
        self,
        name: str,
        *,
        head: str = "head.safetensors",
        parts: list[str] | None = None,
        baseline: bool = True,
    ) -> Path:
        out = self.root / "results" / name
        spoken = {"res": ["refcoco-val"], "png": ["png-val"]}.get(name, []) if parts is None else parts
        evaluate(
            self.params,
            "shapes-llava",
            name,
            head=self.root / head,
            maps={part: self.root / "extract" / part / "manifest.json" for part in spoken},
            embeddings=[self.root / "embed" / "key" / "manifest.json"] if spoken else [],
            samples={part: samples(self.params, part) for part in Graph(self.params).parts_of(name)},
            selected=self.select() if baseline else None,
            raw=self.root / "raw",
            out=out,
        )
        return out

    def count(self, name: str, folder: Path) -> list[dict[str, Any]]:
        questions = {part: samples(self.params, part) for part in Graph(self.params).asked_parts}
        count(self.params, "shapes-llava", {name: folder}, questions, self.root / "count")
        records: list[dict[str, Any]] = json.loads((self.root / "count" / "metrics.json").read_text())
        return records


def params_in(root: Path) -> Params:
    """The project's own params with one split per dataset and the tiny models."""
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    raw["evaluate"].update(max_new_tokens=5, device="cpu")
    raw["overlays"]["pictures"] = 5
    raw["embed"]["device"] = "cpu"
    suite = raw["suites"]["shapes"]
    suite["segmenter"] = {"name": "tiny", "checkpoint": str(root / "sam")}
    for dataset in suite["datasets"].values():
        if dataset["reader"] in ("refcoco", "png"):
            dataset["splits"] = ["train", "val"]
        if dataset["reader"] == "viscot":
            dataset["splits"] = ["shapes"]
    raw["catalogue"]["shapes-llava"]["model"] = str(root / "llava")
    return parse_params(raw)


def write_head(
    path: Path, sam: Any, *, channels: int, layers: int, width: int, backbone: str = "shapes-llava"
) -> None:
    sizes = Head(base_channels=4, upsample=16)
    head = build_head(sizes, channels=channels, layers=layers, hidden_width=width, segmenter=sam, seed=99)
    config = HeadConfig(
        backbone=backbone, segmenter="tiny", side=48, channels=channels, layers=layers, hidden_width=width,
        base_channels=4, upsample=16,
    )  # fmt: skip
    save_head(path, head, config)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def write_question_parts(params: Params) -> None:
    encoded = io.BytesIO()
    picture(8).save(encoded, format="PNG")
    for part in (part for name in ("pope", "mmbench") for part in Graph(params).parts_of(name)):
        questions = []
        for number in range(4):
            mmbench = part == "mmbench-dev"
            questions.append(
                Question(
                    question_id=str(number), group=str(number % 2),
                    text=f"Is there a thing {number} in the image?",
                    hint="", options=("a star", "a dog") if mmbench else (), answer="A" if mmbench else "yes",
                    category="c" if mmbench else "", archive="" if mmbench else "train2014",
                    image="" if mmbench else f"COCO_train2014_{number % 3:012d}.jpg",
                    image_bytes=encoded.getvalue() if mmbench else b"",
                )
            )  # fmt: skip
        write_questions(samples(params, part), questions)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    (root / "sam").mkdir()
    torch.manual_seed(0)
    sam = SamSegmenter(build_sam(TINY_SAM))
    save_file(sam.model.state_dict(), root / "sam" / "model.safetensors")
    (root / "sam" / "config.json").write_text(json.dumps(TINY_SAM))
    save_llava(root / "llava")
    params = params_in(root)
    (root / "raw" / "train2014").mkdir(parents=True)
    for index in range(3):
        picture(index).save(root / "raw" / "train2014" / f"COCO_train2014_{index:012d}.jpg")
    for dataset in ("refcoco", "png"):
        made = [make_sample(index, dataset=dataset) for index in range(3)]
        write_part(root / "extract" / f"{dataset}-val", f"{dataset}-val", made)
        trained = [make_sample(index, dataset=dataset, split="train") for index in range(3)]
        write_part(root / "extract" / f"{dataset}-train", f"{dataset}-train", trained)
        write_samples(root / f"{dataset}.parquet", made)
    tables = [root / "refcoco.parquet", root / "png.parquet"]
    embed(params, "train2014", tables, root / "raw", root / "embed" / "key", "key")
    write_head(root / "head.safetensors", sam, channels=CHANNELS, layers=LAYERS, width=HIDDEN)
    write_head(root / "llava.safetensors", sam, channels=12, layers=3, width=32)
    write_head(root / "foreign.safetensors", sam, channels=12, layers=3, width=32, backbone="other")
    return Project(root, params)


@pytest.fixture
def project(built: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(built.root)
    write_question_parts(built.params)
    return built


@pytest.mark.parametrize(("name", "dataset", "metric"), [("res", "refcoco", "cIoU"), ("png", "png", "AR")])
def test_grounding_writes_everything_it_promises(
    project: Project, name: str, dataset: str, metric: str
) -> None:
    out = project.evaluate(name)
    assert {path.name for path in out.iterdir()} == {"predictions.parquet", "facts.json"}
    facts = json.loads((out / "facts.json").read_text())
    assert facts["left_out"] == {} and len(facts["localization_channels"]) == 3
    records = project.count(name, out)
    assert {r["head"] for r in records} == HEADS
    assert {r["protocol"] for r in records} == {"paper", "standard"}
    assert {(r["benchmark"], r["split"], r["suite"]) for r in records} == {(dataset, "val", "shapes")}
    assert metric in {r["metric"] for r in records}
    assert all(0 <= r["value"] <= 100 for r in records)
    assert pq.read_schema(out / "predictions.parquet").equals(PREDICTION_SCHEMA)
    drawn = project.root / "overlays" / name
    overlays(project.params, "shapes-llava", name, out, project.root / "raw", drawn)
    listed = json.loads((drawn / "overlays.json").read_text())
    assert len(listed) == 5 and {entry["protocol"] for entry in listed} <= {"standard", "both"}
    assert {entry["file"] for entry in listed} == {path.name for path in drawn.glob("*.png")}


def test_without_training_phrases_the_baseline_is_left_out_in_words(project: Project) -> None:
    out = project.evaluate("res", baseline=False)
    facts = json.loads((out / "facts.json").read_text())
    assert "no training part" in facts["left_out"]["localization"]
    assert facts["localization_channels"] is None
    records = project.count("res", out)
    assert {r["head"] for r in records} == {name for name in HEADS if "localization" not in name}
    with_it = project.count("res", project.evaluate("res"))
    assert [r for r in with_it if "localization" not in r["head"]] == records


def test_the_selection_says_which_heads_and_on_how_many_phrases(project: Project) -> None:
    found = json.loads(project.select().read_text())
    assert set(found) == {"channels", "phrases"}
    # Three samples of two targets, as the paper speaks them and sentence by sentence: 6 + 12 phrases.
    assert len(set(found["channels"])) == 3 and found["phrases"] == 18


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"channels": [99]}', "backbone has 6"), ("[]", "no list"), ('{"channels": [true]}', "no list")],
)
def test_a_selection_that_does_not_fit_is_refused(
    project: Project, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "heads.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_selection(tmp_path / "heads.json", CHANNELS)


def test_two_evaluations_write_equal_bytes(project: Project) -> None:
    first = {path.name: path.read_bytes() for path in project.evaluate("res").rglob("*.*")}
    second = {path.name: path.read_bytes() for path in project.evaluate("res").rglob("*.*")}
    assert first == second


@pytest.mark.parametrize(
    ("name", "metrics"), [("reasonseg", {"gIoU", "cIoU"}), ("viscot", {"gIoU", "Pr@0.5"})]
)
def test_the_lmm_answers_and_its_own_words_are_grounded(
    project: Project, name: str, metrics: set[str]
) -> None:
    asked = [make_question(index, name) for index in range(3)]
    (part,) = Graph(project.params).parts_of(name)
    write_samples(samples(project.params, part), asked)
    out = project.evaluate(name, head="llava.safetensors")
    everything = project.count(name, out)
    records = [r for r in everything if r["protocol"] == "answer-then-ground"]
    assert {r["head"] for r in records} == HEADS
    assert {r["benchmark"] for r in everything} == {name}
    assert {r["protocol"] for r in everything} == {"answer-then-ground"} | (
        WAYS if name == "viscot" else set()
    )
    assert {r["metric"] for r in records} == metrics
    assert all(0 <= r["value"] <= 100 for r in records)
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    assert len(rows) == 3 * len(HEADS)
    assert all(row["text"].startswith("Which is it?") for row in rows)
    refined = pq.read_table(out / "predictions.parquet", filters=[("head", "=", "unet+sam")])
    write_table(out / "refined.parquet", refined)
    found = score(asked, out / "refined.parquet", "standard", "same", benchmark(name))
    scored = {r.metric: r.value for r in found.records}
    assert scored == {r["metric"]: r["value"] for r in records if r["head"] == "unet+sam"}
    overlays(project.params, "shapes-llava", name, out, project.root / "raw", project.root / "drawn")
    assert len(json.loads((project.root / "drawn" / "overlays.json").read_text())) == 3


def test_visual_cot_is_answered_in_three_ways(project: Project) -> None:
    write_samples(
        samples(project.params, "viscot-shapes"), [make_question(index, "viscot") for index in range(3)]
    )
    out = project.evaluate("viscot", head="llava.safetensors")
    thoughts = pq.read_table(out / "thoughts.parquet")
    assert thoughts.schema.equals(THOUGHT_SCHEMA) and thoughts.num_rows == 3 * len(WAYS)
    assert {(row["protocol"], row["pictures"]) for row in thoughts.to_pylist()} == {
        ("named-object", 2), ("whole-question", 2), ("plain", 1),
    }  # fmt: skip
    looks = pq.read_table(out / "looks.parquet")
    assert looks.schema.equals(PREDICTION_SCHEMA) and looks.num_rows == 3 * 2 * 2
    told = json.loads((out / "facts.json").read_text())["thoughts"]
    assert told["named-object"]["with_two_pictures"] == 3 and told["plain"]["with_two_pictures"] == 0
    found = {(r["protocol"], r["head"], r["metric"]) for r in project.count("viscot", out)}
    for way in WAYS - {"plain"}:
        assert {(way, "unet", "gIoU"), (way, "unet+sam", "Pr@0.5")} <= found
        assert {(way, "unet+sam", "contained"), (way, "unet+sam", "contained_gain")} <= found
    assert ("plain", "none", "exact") in found and ("plain", "none", "exact_gain") not in found


def test_pope_is_asked_again_after_a_look(project: Project) -> None:
    out = project.evaluate("pope", head="llava.safetensors")
    rows = pq.read_table(out / "thoughts.parquet").to_pylist()
    assert {row["protocol"]: row["phrase"] for row in rows if row["question_id"] == "1"} == {
        "look-first": "thing 1", "plain": "",
    }  # fmt: skip
    answers = pq.read_table(out / "answers.parquet").to_pylist()
    plain = {(row["split"], row["question_id"]): row["answer_plain"] for row in answers}
    once = [row for row in rows if row["protocol"] == "plain"]
    assert len(once) == len(plain) and all(plain[r["split"], r["question_id"]] == r["answer"] for r in once)
    found = {(r["protocol"], r["head"]) for r in project.count("pope", out) if r["metric"] == "accuracy"}
    assert found == {
        ("upstream", "none"),
        ("upstream", "unet+sam"),
        ("plain", "none"),
        ("look-first", "unet+sam"),
    }


def test_a_head_for_other_attention_is_refused(project: Project) -> None:
    write_samples(samples(project.params, "reasonseg-val"), [make_question(0, "reasonseg")])
    with pytest.raises(InputError, match="trained on 6 attention channels, but the backbone gives 12"):
        project.evaluate("reasonseg")


@pytest.mark.parametrize("name", ["pope", "mmbench"])
def test_answers_with_the_head_attached_equal_the_plain_ones_and_weights_stay(
    project: Project, name: str
) -> None:
    out = project.evaluate(name, head="llava.safetensors")
    facts = json.loads((out / "facts.json").read_text())
    assert facts["answers"] == facts["answers_equal"] == (12 if name == "pope" else 4)
    assert facts["weights_hash_before"] == facts["weights_hash_after"]
    assert facts["equal"] is True
    assert facts["masks"] > 0
    assert pq.read_schema(out / "answers.parquet").equals(ANSWER_SCHEMA)
    records = project.count(name, out)
    splits = {"random", "popular", "adversarial"} if name == "pope" else {"dev"}
    assert {(r["benchmark"], r["split"]) for r in records} == {(name, split) for split in splits}
    assert {r["head"] for r in records} == {"none", "unet+sam"}
    assert {r["value"] for r in records if r["metric"] == "answers_equal"} == {1.0}
    assert all(0 <= r["value"] <= 1 for r in records)


def test_a_head_of_another_backbone_is_refused(project: Project) -> None:
    with pytest.raises(InputError, match="trained for backbone other"):
        project.evaluate("pope", head="foreign.safetensors")


def test_attention_that_was_not_extracted_is_named(project: Project) -> None:
    with pytest.raises(InputError, match=r"refcoco-testA/manifest\.json"):
        project.evaluate("res", parts=["refcoco-testA"])
    with pytest.raises(InputError, match="run `flmm extract`"):
        project.evaluate("res", parts=[])
    (project.root / "extract" / "refcoco-testB").mkdir(exist_ok=True)
    copied = (project.root / "extract" / "refcoco-val" / "manifest.json").read_bytes()
    for shard in (project.root / "extract" / "refcoco-val").glob("*.parquet"):
        (project.root / "extract" / "refcoco-testB" / shard.name).write_bytes(shard.read_bytes())
    (project.root / "extract" / "refcoco-testB" / "manifest.json").write_bytes(copied)
    with pytest.raises(InputError, match="of part refcoco-val, not refcoco-testB"):
        project.evaluate("res", parts=["refcoco-testB"])


def test_overlays_of_answers_are_refused(project: Project) -> None:
    with pytest.raises(InputError, match="POPE: its questions have no masks"):
        overlays(project.params, "shapes-llava", "pope", project.root, project.root, project.root / "no")
