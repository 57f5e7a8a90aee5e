"""Samples and questions survive their Parquet files."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from flmm.data.question import Question, read_questions, write_questions
from flmm.data.sample import Piece, Sample, Target, decode_rle, encode_rle, read_samples, write_samples

masks = st_numpy.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(masks)
def test_a_mask_survives_its_run_lengths(mask: np.ndarray) -> None:
    assert np.array_equal(decode_rle(encode_rle(mask), *mask.shape), mask)


def test_samples_survive_parquet(tmp_path: Path) -> None:
    mask = np.eye(4, 6, dtype=bool)
    target = Target("17", ("a grün star", "star"), encode_rle(mask), "star", True, False)
    narrative = (Piece("I see ", -1), Piece("a star", 0))
    written = [
        Sample("png/1", "png", "val", 1, "val2017", "000000000001.jpg", 4, 6, (target,), narrative),
        Sample("ref/2", "refcoco", "val", 2, "train2014", "b.jpg", 4, 6, (target, target), ()),
    ]
    write_samples(tmp_path / "s.parquet", written)
    assert read_samples(tmp_path / "s.parquet") == written
    assert np.array_equal(read_samples(tmp_path / "s.parquet")[0].targets[0].mask(4, 6), mask)


def test_questions_survive_parquet(tmp_path: Path) -> None:
    question = Question("1", "1", "Is there a star?", "", (), "yes", "existence", "val2014", "a.jpg", b"")
    choice = Question("2", "2", "Which?", "hint", ("a", "b"), "B", "shape", "", "", b"\xff\xd8")
    write_questions(tmp_path / "q.parquet", [question, choice])
    assert read_questions(tmp_path / "q.parquet") == [question, choice]
