"""Pointing: cells of the padded square, the turns that ask for them, and what they cost."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, AutoProcessor

from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.narratives import PLURALS
from flmm.shapes.world.scenes import COLOURS, Scene, make_scene, scene_seed
from recipes.answers import answer_turns
from recipes.corpus import collate
from recipes.families import FAMILIES
from recipes.forward import language_loss, packed_hidden
from recipes.labels import cell_shares
from recipes.language import CELLS, Turn
from recipes.lmm import Family
from recipes.measure import point
from recipes.packing import IGNORE, WEIGHTS, Encoder
from recipes.pointing import drawn_expressions, pointing_turn, story_turn

FAMILY = FAMILIES["llava_base"]
GRID = 12
MODELS = Path(__file__).parents[2] / "flmm/shapes/models"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(scene_seed("test-pointing", 0, i)) for i in range(80)]


def size_of(scene: Scene) -> tuple[int, int]:
    return scene.height, scene.width


def test_pointing_is_at_the_thing_that_an_expression_means(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        rng = random.Random(number)
        drawn = drawn_expressions(scene, rng)
        turn = pointing_turn(scene, drawn, rng)
        assert turn.pieces[1::2] == (".",) * len(drawn) and not any(turn.learnt)
        for expression, text, region, stop in zip(
            drawn, turn.pieces[::2], turn.regions[::2], turn.regions[1::2], strict=True
        ):
            assert text.removeprefix("the ") == expression.text and stop is None
            assert region is not None and (region == scene.things[expression.thing].mask).all()


def test_a_story_points_at_all_that_its_phrases_name(scenes: list[Scene]) -> None:
    plural = stuff = 0
    for number, scene in enumerate(scenes):
        turn = story_turn(scene, random.Random(number))
        assert len(turn.pieces) == len(turn.regions) == len(turn.learnt)
        for text, region in zip(turn.pieces, turn.regions, strict=True):
            if region is None:
                continue
            word = text.split()[-1]
            named = [each.mask for each in scene.stuff if each.name == word]
            stuff += bool(named)
            shapes = [thing.mask for thing in scene.things if PLURALS[thing.shape] == word]
            plural += bool(shapes)
            if named:
                assert (region == named[0]).all(), text
            elif shapes and len(text.split()) == 2:  # "three stars": every star
                assert all((region & mask).any() for mask in shapes), text
            assert region.any(), text
    assert plural > 5 and stuff > 20


def test_the_cells_are_the_last_tokens_of_the_vocabulary(any_built: tuple[Family, Any, Any]) -> None:
    family, model, processor = any_built
    encoder = Encoder(processor, family)
    size = model.get_input_embeddings().weight.shape[0]
    assert encoder.cells == list(range(size - len(CELLS), size))
    assert [encoder.piece(cell) for cell in CELLS] == [[i] for i in encoder.cells]


def test_pointing_replaces_what_follows_a_phrase(built: tuple[Any, Any]) -> None:
    encoder = Encoder(built[1], FAMILY)
    scene = make_scene(11)
    regions = (scene.things[0].mask, None, scene.things[1].mask)
    turn = Turn("Why?", ("the red star", "and", "a ring"), "point", learnt=(False,) * 3, regions=regions)
    packed = encoder.pack([turn], [size_of(scene)])
    ends = [i for i, label in enumerate(packed.labels) if label != IGNORE]
    # "and" and the answer's end are there to read on, but cells are what is learnt in their places.
    assert [packed.ids[i] for i in ends] == [encoder.piece("and")[0], encoder.tokenizer.eos_token_id]
    assert [packed.labels[i] for i in ends] == [encoder.cells[int(s.argmax())] for s in packed.shares]
    for region, shares in zip(regions[::2], packed.shares, strict=True):
        assert region is not None
        assert (
            np.allclose(shares[: GRID * GRID], cell_shares(region, GRID)) and not shares[GRID * GRID :].any()
        )


def test_pointing_costs_the_cross_entropy_of_a_drawn_cell_less_the_regions_entropy(
    built: tuple[Any, Any],
) -> None:
    model, processor = built
    scene = make_scene(11)
    region = scene.things[0].mask
    encoder = Encoder(processor, FAMILY)
    turn = Turn("Why?", ("it",), "point", learnt=(False,), regions=(region,))
    packed = encoder.pack([turn], [size_of(scene)])
    batch = collate([(FAMILY.pixels(scene.image)[None], FAMILY.labels(scene)[None], packed)])
    with torch.no_grad():
        loss, features = language_loss(model, FAMILY, batch)
        at = packed.labels.index(encoder.cells[int(packed.shares[0].argmax())]) - 1
        logits = model.lm_head(packed_hidden(model, features.packed, batch)[0, at])
    shares = packed.shares[0]
    each = -logits.log_softmax(0)[encoder.cells].numpy()
    entropy = -sum(s * np.log(s) for s in shares[shares > 0])
    assert float(loss) == pytest.approx(float((shares * each).sum() - entropy), abs=1e-4)


@given(seed=st.integers(0, 500), grid=st.sampled_from([12, 16]))
@settings(max_examples=25, deadline=None)
def test_cell_shares_are_where_the_pixels_are(seed: int, grid: int) -> None:
    scene = make_scene(seed)
    for thing in scene.things:
        shares = cell_shares(thing.mask, grid)
        assert shares.shape == (grid * grid,) and (shares >= 0).all()
        assert shares.sum() == pytest.approx(1, abs=1e-5)
        side = max(scene.height, scene.width)
        rows, columns = thing.mask.nonzero()
        middle = (
            rows.mean() + 0.5 + (side - scene.height) / 2,
            columns.mean() + 0.5 + (side - scene.width) / 2,
        )
        places = (np.arange(grid) + 0.5) * side / grid
        square = shares.reshape(grid, grid)
        assert ((square.sum(1) * places).sum(), (square.sum(0) * places).sum()) == pytest.approx(
            middle, abs=side / grid / 2
        )


def test_a_patch_has_the_cell_in_which_it_lies(any_built: tuple[Family, Any, Any]) -> None:
    """The patches that show a thing are in the cells that the thing lies in, or beside them."""
    family, _, _ = any_built
    for seed in range(5):
        scene = make_scene(scene_seed("test-labels", 0, seed))
        labels = family.labels(scene)
        assert labels[3].min() >= 1 and labels[3].max() <= family.grid**2
        rows, columns = np.divmod(labels[3] - 1, family.grid)
        for thing in scene.things:
            name = (1 + list(COLOURS).index(thing.colour), 1 + SHAPES.index(thing.shape))
            same = [t.mask for t in scene.things if t.name == thing.name]
            shown = (labels[0] == name[0]) & (labels[1] == name[1])
            here = cell_shares(np.logical_or.reduce(same), family.grid).reshape(family.grid, -1).nonzero()
            for row, column in zip(rows[shown], columns[shown], strict=True):
                assert np.maximum(abs(here[0] - row), abs(here[1] - column)).min() <= 1


def test_an_untrained_model_points_anywhere(built: tuple[Any, Any]) -> None:
    model, processor = built
    shares = point(model, "llava_base", processor, 15)
    assert set(shares) <= {"plain", "position", "relation", "size"} and shares["plain"] < 0.4


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("family", "name"),
    [("llava", "shapes-llava"), ("llava_next", "shapes-llava-next"), ("deepseek_vl", "shapes-deepseek-vl")],
)
def test_a_shipped_model_points_at_what_a_plain_expression_means(family: str, name: str) -> None:
    path = MODELS / name
    model = AutoModelForImageTextToText.from_pretrained(path).eval()
    assert point(model, family, AutoProcessor.from_pretrained(path), 20)["plain"] > 0.8


def test_answers_point_at_what_they_are_about_and_mostly_end(scenes: list[Scene]) -> None:
    subjects = {"color": 0, "shape": 0, "is": 0}
    for number, scene in enumerate(scenes):
        turns = answer_turns(scene, random.Random(number), pointing=4, ending=2)
        assert [turn.kind for turn in turns] == ["answer and point"] * 4 + ["answer and end"] * 2
        for turn in turns[:4]:
            (answer,), (region,) = turn.pieces, turn.regions
            masks = [thing.mask for thing in scene.things if answer in (thing.colour, thing.shape)]
            masks += [each.mask for each in scene.stuff if each.name == answer]
            assert any(mask is region for mask in masks), turn.prompt
            subjects[turn.prompt.split()[1]] += 1
    assert min(subjects.values()) > 50
    # Greedy generation has to end after an answer: its end weighs more than all cells together.
    (point, _), (_, end) = WEIGHTS["answer and point"], WEIGHTS["answer and end"]
    assert 2 * end > 4 * point
