"""The shortened recipe of the fine-tuned rival: it learns, is deterministic, and what it writes loads."""

import json
from pathlib import Path

import pytest

from flmm.errors import InputError
from flmm.heads.sam import SamSegmenter
from flmm.rivals.predict import SegModel
from recipes.seg import SegRecipe, finetune_seg

MODELS = Path(__file__).parents[2] / "flmm/shapes/models"
TINY = SegRecipe(steps=3, batch=2, expressions=2, warmup=1)


@pytest.mark.pipeline
def test_the_shortened_recipe_learns_and_is_deterministic(tmp_path: Path) -> None:
    runs = [
        finetune_seg(
            tmp_path / str(i),
            start=MODELS / "shapes-llava",
            segmenter=MODELS / "shapes-sam",
            recipe=TINY,
            held_out=2,
        )
        for i in range(2)
    ]
    assert runs[0] == runs[1]
    assert runs[0]["losses"][-1]["language"] < runs[0]["losses"][0]["language"]
    segmenter = SamSegmenter.load(MODELS / "shapes-sam")
    model = SegModel.load(tmp_path / "0", segmenter, dtype="float32", device="cpu")
    before = json.loads((MODELS / "shapes-llava/config.json").read_text())["text_config"]["vocab_size"]
    assert model.seg == before


def test_only_a_llava_can_be_fine_tuned(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a llava_next model; the recipe is for llava"):
        finetune_seg(
            tmp_path / "out",
            start=MODELS / "shapes-llava-next",
            segmenter=MODELS / "shapes-sam",
            recipe=TINY,
        )
