"""The script of the pipeline's faults, without running it: what it tries is what the documentation tells."""

import os
import re
from pathlib import Path
from random import Random

import pytest

from benchmarks.disturbances import cut_short, flipped_bit, flipped_bit_of_the_footer, words
from benchmarks.pipeline_faults import FAULTS

PAGE = Path(__file__).parents[1] / "docs/reliability.md"


def test_the_documentation_has_a_line_for_each_fault() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## The pipeline")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([^|]+?) \| \d", text, re.MULTILINE) == list(FAULTS)


@pytest.mark.parametrize("number", range(20))
def test_damage_is_what_it_is_called(tmp_path: Path, number: int) -> None:
    file, whole = tmp_path / "shard", os.urandom(1000) + (100).to_bytes(4, "little") + b"PAR1"
    for damage, first in ((flipped_bit, 0), (flipped_bit_of_the_footer, len(whole) - 108)):
        file.write_bytes(whole)
        damage(file, Random(number))
        found = file.read_bytes()
        (place,) = (at for at in range(len(whole)) if found[at] != whole[at])
        assert place >= first and (found[place] ^ whole[place]).bit_count() == 1
    file.write_bytes(whole)
    cut_short(file, Random(number))
    assert len(file.read_bytes()) < len(whole) and whole.startswith(file.read_bytes())


def test_words_are_one_sentence_and_no_traceback() -> None:
    said = "rule train:\nerror: cache/a.parquet: not a whole shard; delete it\nExiting because a job failed\n"
    assert words(said) == "error: cache/a.parquet: not a whole shard; delete it"
    assert words("all is well\n") == ""
    assert words(f"Traceback (most recent call last):\n{said}") == ""
