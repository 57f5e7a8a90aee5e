"""Grounded descriptions: GLaMM's numbers by hand, COCO's average precision, GLaMM's own files, and phrases."""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from flmm.backbones.base import Generation, Observation
from flmm.benchmarks import benchmark, gcg
from flmm.data.images import ImageStore
from flmm.data.sample import Piece, Sample, Target, encode_rle
from flmm.errors import InputError
from flmm.evaluation import captions, pairs
from flmm.evaluation.describing import _Speaker, grounded
from flmm.evaluation.description_count import description_records
from flmm.evaluation.score_descriptions import score_descriptions
from flmm.evaluation.similarity import by_model, by_words
from tests.evaluation.conftest import CHANNELS, GRID, HEIGHT, HIDDEN, LAYERS, WIDTH

GCG = benchmark("gcg")


def box(left: int, right: int, top: int = 2, bottom: int = 12) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def runs(mask: np.ndarray) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": encode_rle(mask)}


def sample(number: int, phrases: Sequence[str], masks: Sequence[np.ndarray]) -> Sample:
    targets = tuple(
        Target(str(n), (text,), encode_rle(mask), "object", is_thing=True, is_plural=False)
        for n, (text, mask) in enumerate(zip(phrases, masks, strict=True))
    )
    caption = Piece(" and ".join(phrases), -1)
    return Sample(f"grandf-val-{number}", "grandf", "val", number, "GranDf_HA_images", f"val_test/p{number}.jpg",
                  HEIGHT, WIDTH, targets, (caption,))  # fmt: skip


def test_pairs_are_upstreams() -> None:
    overlaps = np.array([[0.9, 0.6, 0.0], [0.8, 0.0, 0.0]])
    assert pairs.paired(overlaps) == [(0, 0)]  # the second mask meets only what is taken
    assert pairs.mean_iou(overlaps) == 0.9  # and is not in the mean
    assert pairs.mean_iou(np.zeros((0, 2))) == 0.0
    both = np.array([[0.9, 0.0], [0.0, 0.6]])
    assert pairs.recalled(both, np.ones((2, 2))) == 2
    assert pairs.recalled(both, np.array([[1.0, 1.0], [1.0, 0.4]])) == 1
    assert (
        pairs.recalled(both, np.array([[0.4, 1.0], [1.0, 1.0]])) == 0
    )  # the best pair's words differ: it ends there


masks_of_a_picture = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 11)), max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(masks_of_a_picture, masks_of_a_picture), min_size=1, max_size=4))
def test_average_precision_is_cocos(pictures: list[Any]) -> None:
    made = [
        pairs.Picture(*([runs(box(left, left + width)) for left, width in side] for side in picture))
        for picture in pictures
    ]
    truths = np.array([len(each.true) for each in made], dtype=float)
    mine = gcg.average_precision(pairs.hits(made), truths).value
    theirs = COCOeval(pairs._coco(made, "true"), pairs._coco(made, "predicted"), "segm")
    theirs.params.iouThrs = np.array([0.5])
    with contextlib.redirect_stdout(io.StringIO()):
        theirs.evaluate()
        theirs.accumulate()
    found = (
        theirs.eval["precision"][0, :, 0, 0, -1]
        if len(theirs.eval["precision"].ravel())
        else np.array([-1.0])
    )
    assert mine == pytest.approx(100 * max(float(found.mean()), 0.0), abs=1e-6)


def test_a_picture_taken_twice_weighs_twice() -> None:
    hits, truths = [np.array([True]), np.array([False, False])], np.array([1.0, 1.0])
    number = gcg.average_precision(hits, truths)
    once, first, last = number.of_weights(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert (round(once, 2), first, last) == (round(100 * 51 / 101, 2), 100.0, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("the red circle", "a Red Circle", 1.0),
        ("a red circle", "the blue circle", 0.5),
        ("circle", "a red circle left of it", 1.0),
        ("a dog", "the grass", 0.0),
        ("", "the grass", 0.0),
    ],
)
def test_shared_words(first: str, second: str, alike: float) -> None:
    assert by_words([first], [second]).tolist() == [[alike]]
    assert by_words([], [second]).shape == (0, 1)


def test_an_unknown_text_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"text model .*nowhere.*cannot be loaded"):
        by_model(str(tmp_path / "nowhere"))


def test_a_text_model_compares_means_of_its_states(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizer

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dog"])
    )
    torch.manual_seed(0)
    sizes = {"vocab_size": 7, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertModel(BertConfig(**sizes, intermediate_size=8)).save_pretrained(tmp_path)
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    alike = by_model(str(tmp_path))(["red dog", "dog"], ["red dog", "red", "dog"])
    assert alike.shape == (2, 3) and alike[0, 0] == pytest.approx(1, abs=1e-5) == alike[1, 2]
    assert alike[0, 1] < 0.9999


def write(
    folder: Path, name: str, caption: str, phrases: list[str], masks: list[np.ndarray], **more: Any
) -> None:
    content = {
        "image_id": name,
        "caption": caption,
        "phrases": phrases,
        "pred_masks": [runs(m) for m in masks],
    }
    (folder / f"{name}.json").write_text(json.dumps(more.get("under", lambda found: found)(content)))


def test_files_of_glamm_are_counted(tmp_path: Path) -> None:
    samples = [
        sample(0, ["a dog", "grass"], [box(0, 8), box(10, 20)]),
        sample(1, ["a cat"], [box(0, 10)]),
        sample(2, ["a cow"], [box(0, 10)]),
    ]
    # Half of the grass: IoU 0.5, which counts.
    write(tmp_path, "p0", "a dog and grass", ["the dog", "the grass"], [box(0, 8), box(10, 15)])
    write(tmp_path, "p1", "a bird", ["a bird"], [box(0, 10), box(20, 30)], under=lambda found: {"p1": found})
    found = score_descriptions(samples, tmp_path, "ours", GCG)
    values = {record.metric: record.value for record in found.records}
    assert (found.units, found.missing) == (3, 1)
    assert values["mIoU"] == pytest.approx(100 * (0.75 + 1 + 0) / 3)
    assert values["mask_recall_words"] == 100 * 2 / 4  # the cat's mask is right and its word is not
    assert values["AP50"] == pytest.approx(100 * 76 / 101)  # three of four, the wrong one last
    assert all(record.low <= record.value <= record.high and record.images == 3 for record in found.records)
    write(tmp_path, "q", "", [], [])
    with pytest.raises(InputError, match=r"1 files are of no picture of the samples, such as q\.json"):
        score_descriptions(samples, tmp_path, "ours", GCG)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    samples = [sample(0, ["a dog"], [box(0, 8)])]
    with pytest.raises(InputError, match="no such folder"):
        score_descriptions(samples, tmp_path / "absent", "ours", GCG)
    (tmp_path / "p0.json").write_text('{"caption": "x", "phrases": []}')
    with pytest.raises(InputError, match=r"p0\.json: pred_masks"):
        score_descriptions(samples, tmp_path, "ours", GCG)
    (tmp_path / "p0.json").write_text(
        json.dumps({"caption": "x", "phrases": ["a"], "pred_masks": [{"size": [1, 2]}]})
    )
    with pytest.raises(InputError, match=r"p0\.json: mask 0"):
        score_descriptions(samples, tmp_path, "ours", GCG)


def test_captions_that_are_the_reference_are_the_best() -> None:
    pytest.importorskip("nltk")
    told = [
        ["There is a red circle. On it, the blue stars."],
        ["A small dog runs."],
        ["One grey cat sleeps here."],
    ]
    assert captions.tokens(told[0][0]) == [
        "there",
        "is",
        "a",
        "red",
        "circle",
        "on",
        "it",
        "the",
        "blue",
        "stars",
    ]
    right = captions.meteor([one[0] for one in told], told)
    stem = captions.meteor(["there is a red circle . on it the blue star"] * 3, [told[0]] * 3)
    other = captions.meteor(["nothing", "", "x"], told)
    assert right.min() > 0.95 and right[0] == stem[0] and not np.any(other)  # type: ignore[union-attr]
    pytest.importorskip("pycocoevalcap")
    best, none = captions.cider([one[0] for one in told], told), captions.cider(["", "zebra", "x"], told)
    assert best == pytest.approx(10) and none == pytest.approx(0)


class Speaker:
    """An LMM that says the same of every picture; no token of its last word was read."""

    words = ("a", " dog", " on", " grass", " field")

    def generate(self, image: Image.Image, question: str, *, max_new_tokens: int, tap: bool) -> Generation:
        assert question == "Please give me a description of the image." and max_new_tokens == 9 and tap
        read = self.words[:-1]
        maps = torch.rand(len(read), CHANNELS, GRID.rows, GRID.columns)
        hidden = tuple(torch.zeros(LAYERS, 1, HIDDEN) for _ in read)
        said = Observation("q", tuple(range(len(read))), read, (maps,), hidden, (GRID,))
        return Generation(tuple(range(len(self.words))), said)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.words[token] for token in tokens).strip()


class NoSegmenter:
    def embed(self, image: Image.Image) -> torch.Tensor:
        return torch.zeros(1)


def test_a_description_is_grounded_and_counted(tmp_path: Path) -> None:
    one = sample(0, ["a dog", "the grass"], [box(0, 8), box(10, 20)])
    (tmp_path / one.archive / "val_test").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / one.archive / one.image)
    parts: list[Any] = [Speaker(), {"unet": Whole()}, NoSegmenter(), None, GCG]
    told, rows = _Speaker(*parts).describe([one], ImageStore(tmp_path), max_new_tokens=9, description="")
    (description,) = told.to_pylist()
    assert description["text"] == "a dog on grass field" and description["heads"] == ["unet", "unet+sam"]
    mine = [row for row in rows.to_pylist() if row["head"] == "unet+sam"]
    assert [row["text"] for row in mine] == ["dog"]  # "grass field" is a phrase whose last token was not read
    records = description_records(GCG, told, rows, None, suite="s", backbone="b", seed=7)
    assert {record.head for record in records} == {"unet", "unet+sam"}
    assert {record.metric for record in records} >= {"AP50", "mIoU", "mask_recall_words"}


class Whole:
    """A head for which every phrase is the whole picture."""

    def __call__(self, inputs: Sequence[Any], embeddings: Sequence[Any]) -> list[Any]:
        from flmm.heads.model import HeadOutput

        everything = torch.full((1, HEIGHT, WIDTH), 9.0)
        return [HeadOutput(everything, everything) for _ in inputs]


def test_a_phrase_stands_beside_the_mask_it_is_paired_with() -> None:
    one = sample(0, ["a dog", "the grass"], [box(0, 8), box(10, 20)])
    masks = np.stack([box(24, 30), box(9, 20), box(0, 7)])
    phrases = grounded(one, ["x", "y", "z"], masks, "p").phrases
    assert [phrase.target_id for phrase in phrases] == ["", "1", "0"]
    assert coco_mask.area({"size": [HEIGHT, WIDTH], "counts": phrases[0].rle.encode()}) == 0


def test_a_silent_model_has_numbers_too() -> None:
    one = replace(sample(0, ["a dog"], [box(0, 8)]), sample_id="s")
    row = {
        "sample_id": "s", "dataset": "grandf", "split": "val", "archive": one.archive, "image": one.image,
        "height": HEIGHT, "width": WIDTH, "text": "", "captions": ["a dog"], "phrases": ["a dog"],
        "rles": [one.targets[0].rle], "heads": ["unet"],
    }  # fmt: skip
    columns = ["sample_id", "head", "phrase", "text", "rle"]
    nothing = pa.table({name: pa.array([], pa.string()) for name in columns})
    records = description_records(
        GCG, pa.Table.from_pylist([row]), nothing, None, suite="s", backbone="b", seed=7
    )
    assert {record.metric: record.value for record in records if record.metric in ("AP50", "mIoU")} == {
        "AP50": 0.0, "mIoU": 0.0,
    }  # fmt: skip
