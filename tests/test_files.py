"""Whole files or none."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from flmm.errors import InputError, StepError
from flmm.files import atomic_path, read_json, read_table, sha256_of, write_json, write_table


def test_a_failing_writer_leaves_neither_the_file_nor_a_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "out.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_writer_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert read_json(target) == {"old": 1}


def test_a_full_disk_is_one_sentence_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StepError, match=r"out\.json: No space left"):
        write_json(tmp_path / "out.json", [1, 2])
    assert list(tmp_path.iterdir()) == []


def test_equal_content_is_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [1.5, "ü"]})
    write_json(tmp_path / "b", {"a": [1.5, "ü"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sha256_of({"x": 1, "y": 2}) == sha256_of({"y": 2, "x": 1})


@pytest.mark.parametrize("content", ["", "{", '{"a": 1', "\x00"])
def test_broken_json_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(InputError, match=r"broken\.json"):
        read_json(tmp_path / "broken.json")


def test_a_parquet_file_cut_in_half_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shard.parquet"
    write_table(path, pa.table({"x": list(range(1000))}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shard\.parquet.*delete it"):
        read_table(path)
