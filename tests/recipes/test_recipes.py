"""The shortened recipes: they learn, are deterministic, and write directories that load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    DeepseekVLForConditionalGeneration,
    LlavaForConditionalGeneration,
)

from flmm.errors import InputError
from flmm.heads.sam import build_sam
from flmm.heads.weights import load_strictly, read_weights
from recipes.coarse import coarse_logits
from recipes.families import FAMILIES
from recipes.lmm import save_model
from recipes.pretrain import pretrain
from recipes.recipe import Recipe, Schedule
from recipes.sam import CONFIG, Examples, SamRecipe, measure_sam, pretrain_sam

REPOSITORY = Path(__file__).parents[2]
SHORT = Recipe(
    vision_steps=16,
    grammar=Schedule(16, 16, 6),
    questions=Schedule(16, 16, 6),
    shapes=Schedule(4, 4, 6),
    reference=Schedule(4, 4, 6),
    vision_batch=8,
    warmup=5,
    bfloat16=False,  # a CPU without instructions for it takes five times as long
)
TWO = Schedule(2, 3, 3)
TINY = Recipe(
    vision_steps=2,
    grammar=TWO,
    questions=TWO,
    shapes=TWO,
    reference=TWO,
    location=TWO,
    pointing=TWO,
    answering=TWO,
    talking=TWO,
    widened=TWO,
    vision_batch=3,
    warmup=1,
    bfloat16=False,
)


@pytest.mark.pipeline
def test_the_shortened_lmm_recipe_learns(tmp_path: Path) -> None:
    lines: list[str] = []
    result = pretrain(
        tmp_path / "lmm", family="llava_base", seed=1, recipe=SHORT, log=lines.append, held_out=4
    )
    losses = result["losses"]
    assert len(losses) == 16 + 16 + 4 + 4
    first, last = losses[:16], losses[16:32]
    assert sum(first[-4:]) < 0.9 * sum(first[:4]) and sum(last[-4:]) < 0.95 * sum(last[:4])
    assert 0 <= result["existence"] <= 1
    AutoProcessor.from_pretrained(tmp_path / "lmm")
    LlavaForConditionalGeneration.from_pretrained(tmp_path / "lmm")


@pytest.mark.pipeline
def test_the_lmm_recipe_is_deterministic_and_resumes(tmp_path: Path) -> None:
    wip = tmp_path / "wip"
    runs = [
        pretrain(tmp_path / str(i), family="llava_base", seed=2, recipe=TINY, held_out=2, checkpoints=wip)[
            "losses"
        ]
        for i in range(2)
    ]
    assert runs[0] == runs[1]
    resumed = pretrain(
        tmp_path / "2",
        family="llava_base",
        seed=2,
        recipe=TINY,
        held_out=2,
        resume=tmp_path / "wip-questions",
        resume_after="questions",
    )
    assert resumed["losses"] == runs[0][4:]


@pytest.mark.pipeline
@pytest.mark.parametrize("family", ["llava", "llava_next", "deepseek_vl"])
def test_the_other_architectures_start_from_the_base(tmp_path: Path, family: str) -> None:
    donor, processor = FAMILIES["llava_base"].build(5)
    save_model(donor, processor, tmp_path / "donor")
    result = pretrain(
        tmp_path / "out",
        family=family,
        recipe=TINY,
        held_out=2,
        start=tmp_path / "donor",
        checkpoints=tmp_path / "wip",
    )
    assert len(result["losses"]) == 2 + 2 + 2 + 2  # location, pointing, answering and talking
    # SigLIP's tower cannot be taken over: it is warmed up, and the language model waits for it unchanged.
    assert (tmp_path / "wip-vision").exists() == (family == "deepseek_vl")
    if family == "deepseek_vl":
        warmed = DeepseekVLForConditionalGeneration.from_pretrained(tmp_path / "wip-vision")
        assert torch.equal(warmed.get_input_embeddings().weight, donor.get_input_embeddings().weight)
    AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    AutoProcessor.from_pretrained(tmp_path / "out")


def test_an_unknown_family_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nobody.*llava_base, llava, llava_next, deepseek_vl, llava_wide"):
        pretrain(tmp_path / "out", family="nobody")


@pytest.mark.parametrize(("family", "start"), [("llava_base", "somewhere"), ("llava", None)])
def test_only_the_base_is_trained_from_nothing(tmp_path: Path, family: str, start: str | None) -> None:
    with pytest.raises(InputError, match="--start"):
        pretrain(tmp_path / "out", family=family, start=Path(start) if start else None)


@pytest.mark.pipeline
def test_the_shortened_sam_recipe_learns(tmp_path: Path) -> None:
    result = pretrain_sam(tmp_path / "sam", seed=1, recipe=SamRecipe(steps=12, batch=3, warmup=3), held_out=3)
    assert sum(result["losses"][-3:]) < 0.95 * sum(result["losses"][:3])
    config = json.loads((tmp_path / "sam" / "config.json").read_text())
    assert config == CONFIG
    weights = tmp_path / "sam" / "model.safetensors"
    load_strictly(build_sam(config), read_weights(weights), weights)


def test_sam_examples_are_what_the_refiner_gets() -> None:
    first, again = (Examples(0, 3)[1] for _ in range(2))
    assert torch.equal(first.coarse, again.coarse) and torch.equal(first.boxes, again.boxes)
    assert first.coarse.shape[0] == first.masks.shape[0] == first.boxes.shape[0]
    assert max(first.coarse.shape[1:]) == 64


def test_coarse_masks_are_coarse_but_related() -> None:
    overlap = union = 0
    for index in range(20):
        masks = Examples(0, 20, "test-coarse")[index].masks
        logits = coarse_logits(masks.numpy(), torch.Generator().manual_seed(index))
        full = (
            torch.nn.functional.interpolate(logits[:, None], size=masks.shape[1:], mode="bilinear")[:, 0] > 0
        )
        overlap += int((full & masks).sum())
        union += int((full | masks).sum())
    assert 0.5 < overlap / union < 0.9


def test_an_untrained_sam_scores_low() -> None:
    torch.manual_seed(0)
    assert measure_sam(build_sam(CONFIG), 2)["refiner"] < 40


def test_an_unknown_stage_to_resume_after_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"last.*vision, grammar, questions, shapes, reference"):
        pretrain(tmp_path / "out", family="llava_base", resume=tmp_path, resume_after="last")


def test_the_command_says_what_can_be_mended_in_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "recipes",
        "pretrain",
        "--out",
        str(tmp_path / "out"),
        "--family",
        "nobody",
    ]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert run.stderr.startswith("error: --family nobody")
