"""Which attention heads and layers are kept: the criterion, the file, and what a selection does to an input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flmm.backbones.base import HeadInput
from flmm.errors import InputError
from flmm.pilot import auc, best, evenly, head_scores, read_pilot
from flmm.protocols import answers
from flmm.selection import Selection
from tests.cache.conftest import COARSE, FINE, make_observation, make_sample

CHOSEN = Selection(heads=(1, 4), layers=(0, 2), of_heads=6, of_layers=3)


@given(st.integers(0, 10_000))
def test_the_auc_is_the_share_of_pairs_in_order_with_halves_for_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, (3, 12)).astype(float)  # many ties
    inside = random.permutation([1.0] * 5 + [0.0] * 7)
    found = auc(torch.from_numpy(values), torch.from_numpy(inside))
    for row, score in zip(values, found, strict=True):
        pairs = np.subtract.outer(row[inside == 1], row[inside == 0])
        assert float(score) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())


def test_a_far_bright_cell_costs_a_head_one_cell_only() -> None:
    inside = torch.tensor([1.0] * 10 + [0.0] * 90)
    clean = torch.linspace(1, 0, 100)
    with_sink = clean.clone()
    with_sink[99] = 1000.0
    clean_score, sink_score = auc(torch.stack([clean, with_sink]), inside).tolist()
    assert clean_score == 1 and sink_score == pytest.approx(1 - 1 / 90)


@given(st.integers(1, 60).flatmap(lambda of: st.tuples(st.just(of), st.integers(1, of))))
def test_layers_are_different_and_end_with_the_last(sizes: tuple[int, int]) -> None:
    of, count = sizes
    found = evenly(of, count)
    assert len(set(found)) == count and found[-1] == of - 1 and min(found) >= 0
    assert max(np.diff(found), default=0) <= min(np.diff(found), default=0) + 1


def test_the_best_heads_are_in_rising_order_and_ties_go_to_the_first() -> None:
    assert best([0.5, 0.9, 0.1, 0.9, 0.9], 2) == (1, 3)


def test_a_head_that_looks_at_the_object_wins_and_nothing_to_compare_is_no_score() -> None:
    sample = make_sample(0)
    seen = make_observation(sample, answers(sample, "train", draw=0, seed=7)[0], 0)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:48, 16:48] = True
    maps = torch.zeros(2, 6, 4, 4)
    maps[:, 3, 1:3, 1:3] = 1.0
    seen = type(seen)(
        seen.answer_id, seen.targets, seen.texts, (maps,), tuple(states for states in seen.hidden), (COARSE,)
    )
    scores = head_scores(seen, 0, mask)
    assert scores is not None and scores.tolist() == [0.5, 0.5, 0.5, 1.0, 0.5, 0.5]
    assert head_scores(seen, 0, torch.zeros(64, 64)) is None
    assert head_scores(seen, 0, torch.ones(64, 64)) is None


def test_an_input_is_narrowed_once_and_keeps_the_lmm_s_own_numbers() -> None:
    said = HeadInput(
        (torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 4, 4), torch.rand(1, 6, 6, 8)),
        (COARSE, FINE),
        (torch.rand(3, 2, 10),),
        (18, 32),
    )
    kept = said.kept(CHOSEN)
    assert [float(maps.mean()) for maps in kept.attention[0][0]] == [1.0, 4.0]
    assert kept.channels == 4 and torch.equal(kept.hidden[0], said.hidden[0][[0, 2]])
    assert kept.kept(CHOSEN) is kept and said.kept(None) is said
    # The LMM's channels 4 (head 4 of the first grid) and 7 (head 1 of the second) are the second and third kept.
    assert (said.places([4, 7]), kept.places([4, 7])) == ([4, 7], [1, 2])
    assert [CHOSEN.channel(place) for place in range(4)] == [1, 4, 7, 10]
    assert CHOSEN.all_channels(kept.channels) == 12
    with pytest.raises(InputError, match="channels 5 are of heads that are not kept"):
        kept.places([5])


def test_a_selection_of_another_model_or_another_training_is_refused() -> None:
    said = HeadInput((torch.rand(1, 8, 4, 4),), (COARSE,), (torch.rand(3, 2, 10),), (18, 32))
    with pytest.raises(InputError, match="chosen of 6, but the backbone has 8"):
        said.kept(CHOSEN)
    few = HeadInput((torch.rand(1, 6, 4, 4),), (COARSE,), (torch.rand(2, 2, 10),), (18, 32))
    with pytest.raises(InputError, match="chosen of 3, but the backbone has 2"):
        few.kept(CHOSEN)
    narrow = HeadInput((torch.rand(1, 2, 4, 4),), (COARSE,), (torch.rand(2, 2, 10),), (18, 32), CHOSEN)
    for other in (None, CHOSEN.model_copy(update={"heads": (0, 1)})):
        with pytest.raises(InputError, match="run train again"):
            narrow.kept(other)


@pytest.mark.parametrize("heads", [[], [4, 1], [1, 1], [6], [-1]])
def test_a_damaged_selection_is_refused(tmp_path: Path, heads: list[int]) -> None:
    file = tmp_path / "heads.json"
    for text in (
        "[]",
        "{}",
        f'{{"selection": {{"heads": {heads}, "layers": [0], "of_heads": 6, "of_layers": 1}}}}',
    ):
        file.write_text(text)
        with pytest.raises(InputError, match="run pilot again"):
            read_pilot(file)
