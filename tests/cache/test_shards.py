"""Shards give back what was written, lazily, and a damaged one is an error that names the file."""

import dataclasses
import errno
import json
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from flmm.backbones.base import Observation
from flmm.cache import reader, writer
from flmm.cache.reader import AnswerDataset, head_sizes, read_answers, read_manifest
from flmm.cache.schema import Formats, Manifest
from flmm.cache.writer import ShardWriter, describe_shard, phrase_rows, write_shard
from flmm.errors import InputError, StepError
from flmm.protocols import answers

from .conftest import COARSE, FINE, FORMATS, make_observation, make_sample

Part = tuple[Manifest, list[Observation]]


def test_answers_come_back_as_they_were_observed(part: Part) -> None:
    manifest, observed = part
    read = list(read_answers(read_manifest(manifest.path)))
    assert [answer.answer_id for answer in read] == [observation.answer_id for observation in observed]
    for answer, observation in zip(read, observed, strict=True):
        assert (answer.archive, answer.height, answer.width, answer.protocol) == (
            "train2014",
            18,
            32,
            "train",
        )
        for number, phrase in enumerate(answer.phrases):
            assert phrase.grids == (COARSE, FINE)
            assert (phrase.target, phrase.text) == (observation.targets[number], observation.texts[number])
            for maps, original in zip(phrase.attention, observation.attention, strict=True):
                torch.testing.assert_close(maps, original[number], rtol=0.03, atol=2**-14)
            torch.testing.assert_close(phrase.hidden, observation.hidden[number], rtol=0.04, atol=5 * 2**-14)


def test_targets_keep_their_masks_and_flags(part: Part) -> None:
    sample = make_sample(0)
    phrases = next(read_answers(part[0])).phrases
    for phrase, target in zip(phrases, sample.targets, strict=True):
        assert (phrase.target_id, phrase.rle, phrase.category) == (
            target.target_id,
            target.rle,
            target.category,
        )
        assert (phrase.is_thing, phrase.is_plural) == (target.is_thing, target.is_plural)


def test_float16_is_the_finer_format(tmp_path: Path) -> None:
    sample = make_sample(1)
    answer = answers(sample, "train")[0]
    observation = make_observation(sample, answer, 1)
    formats = Formats("float16", "float16")
    shard = write_shard(
        tmp_path / "shard.parquet", [phrase_rows(sample, answer, observation, "train", 0, formats)]
    )
    manifest = Manifest("k", "b", "p", None, "h", {}, formats, 12, (shard,), tmp_path)
    phrase = next(read_answers(manifest)).phrases[1]
    torch.testing.assert_close(phrase.attention[1], observation.attention[1][1], atol=2**-11, rtol=0)


def test_random_access_equals_reading_in_order(part: Part) -> None:
    manifest, _ = part
    dataset = AnswerDataset([manifest, manifest])
    in_order = list(read_answers(manifest)) * 2
    assert len(dataset) == len(in_order) == 12
    for index in (11, 0, 5, 6, 3):
        assert dataset[index].answer_id == in_order[index].answer_id
        assert torch.equal(dataset[index].phrases[0].hidden, in_order[index].phrases[0].hidden)


def test_a_dataset_reads_only_ids_until_it_is_asked(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str] | None] = []
    original = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, group: int, columns: list[str] | None = None, **how: bool) -> object:
        read.append(columns)
        return original(self, group, columns=columns, **how)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    dataset = AnswerDataset([part[0]])
    assert read == [["answer_id"]] * 2
    first = dataset[0], dataset[1], dataset[0]
    assert len(first) == 3 and read[2:] == [None]  # one row group, read once


def test_forgotten_row_groups_are_read_again(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MEMORY_BYTES", 1)
    dataset = AnswerDataset([part[0]])
    assert [dataset[index].image_id for index in (0, 5, 0, 4)] == [0, 5, 0, 4]
    assert len(dataset._memory) == 1


def test_a_dataset_travels_to_worker_processes(part: Part) -> None:
    dataset = pickle.loads(pickle.dumps(AnswerDataset([part[0]])))
    assert dataset[2].image_id == 2


def test_an_answer_is_never_split_over_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROW_GROUP_BYTES", 1)
    rows = []
    for index in range(3):
        sample = make_sample(index)
        answer = answers(sample, "train")[0]
        rows.append(phrase_rows(sample, answer, make_observation(sample, answer, index), "train", 0, FORMATS))
    shard = write_shard(tmp_path / "shard.parquet", rows)
    assert (shard.rows, shard.answers) == (6, 3)
    groups = pq.ParquetFile(tmp_path / "shard.parquet")
    assert [groups.read_row_group(group).num_rows for group in range(groups.num_row_groups)] == [2, 2, 2]
    manifest = Manifest("k", "b", "p", None, "h", {}, FORMATS, 12, (shard,), tmp_path)
    assert [answer.image_id for answer in read_answers(manifest)] == [0, 1, 2]


def test_a_protocol_selects_its_own_and_shared_answers(tmp_path: Path) -> None:
    rows = []
    for index, protocol in enumerate(["paper", "standard", "both"]):
        sample = make_sample(index)
        answer = answers(sample, "paper")[0]
        rows.append(
            phrase_rows(sample, answer, make_observation(sample, answer, index), protocol, 0, FORMATS)
        )
    shard = write_shard(tmp_path / "shard.parquet", rows)
    manifest = Manifest("k", "b", "p", None, "h", {}, FORMATS, 12, (shard,), tmp_path)
    assert [answer.image_id for answer in read_answers(manifest, "paper")] == [0, 2]
    assert [answer.image_id for answer in read_answers(manifest, "standard")] == [1, 2]
    assert len(list(read_answers(manifest))) == 3


def test_a_shard_in_any_layout_is_read(part: Part) -> None:
    """As earlier releases wrote them, compressed and with dictionaries; and in row groups of two phrases."""
    manifest, _ = part
    expected = [answer.head_input() for answer in read_answers(manifest)]
    for how in ({"compression": "zstd"}, {"row_group_size": 2}):
        for shard in manifest.shards:
            path = manifest.folder / shard.file
            pq.write_table(pq.read_table(path), path, write_page_checksum=True, **how)
        read = read_manifest(manifest.path)
        for found in (read_answers(read), iter(AnswerDataset([read]))):
            for said, same in zip((answer.head_input() for answer in found), expected, strict=True):
                assert all(map(torch.equal, said.attention, same.attention))
                assert all(map(torch.equal, said.hidden, same.hidden))


def test_values_that_do_not_fit_their_sizes_are_an_error(part: Part) -> None:
    path = part[0].folder / part[0].shards[0].file
    table = pq.read_table(path)
    for name in ("attention", "attention_scales", "hidden", "hidden_scales"):
        short = [value[:-4] for value in table[name].to_pylist()]
        column = table.schema.get_field_index(name)
        pq.write_table(table.set_column(column, table.schema.field(name), [short]), path)
        with pytest.raises(InputError, match=rf"00000\.parquet: not a whole shard .*train/0: {name} of"):
            next(read_answers(part[0]))


def test_equal_content_is_equal_bytes(part: Part, tmp_path: Path) -> None:
    manifest, observed = part
    rows = []
    for index in range(3):
        sample = make_sample(index)
        answer = answers(sample, "train", draw=0, seed=7)[0]
        rows.append(phrase_rows(sample, answer, observed[index], "train", 0, FORMATS))
    again = write_shard(tmp_path / "again" / "shard-00000.parquet", rows)
    assert again == manifest.shards[0]


def test_the_manifest_holds_no_path_and_counts_everything(part: Part) -> None:
    text = part[0].path.read_text()
    content = json.loads(text)
    assert (content["rows"], content["answers"], content["schema_version"]) == (12, 6, 2)
    assert str(part[0].folder) not in text
    assert read_manifest(part[0].folder) == part[0]


def test_a_shard_cut_in_half_is_named_with_the_remedy(part: Part) -> None:
    path = part[0].folder / "shard-00001.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shard-00001\.parquet.*delete it and run extract again"):
        read_manifest(part[0].path)
    with pytest.raises(InputError, match=r"shard-00001\.parquet"):
        describe_shard(path)
    with pytest.raises(InputError, match=r"shard-00001\.parquet"):
        AnswerDataset([part[0]])


def test_a_missing_shard_is_named(part: Part) -> None:
    (part[0].folder / "shard-00000.parquet").unlink()
    with pytest.raises(InputError, match=r"shard-00000\.parquet: no such file"):
        read_manifest(part[0].path)


def test_a_damaged_byte_is_an_error_not_a_wrong_mask(part: Part) -> None:
    path = part[0].folder / "shard-00000.parquet"
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(part_column(path, "attention"))
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"shard-00000\.parquet"):
        list(read_answers(part[0]))


def part_column(path: Path, name: str) -> int:
    schema = pq.ParquetFile(path).metadata.row_group(0)
    return next(index for index in range(schema.num_columns) if schema.column(index).path_in_schema == name)


def test_another_schema_version_is_refused(part: Part) -> None:
    content = json.loads(part[0].path.read_text())
    part[0].path.write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(InputError, match=r"manifest\.json: expected .*version 2.*found .*99"):
        read_manifest(part[0].path)


def test_a_manifest_in_the_old_code_is_refused_with_what_to_do(part: Part) -> None:
    content = json.loads(part[0].path.read_text())
    part[0].path.write_text(json.dumps({**content, "schema_version": 1}))
    with pytest.raises(
        InputError, match=r"schema version 1, in the linear 8-bit code.*delete .*extract again"
    ):
        read_manifest(part[0].path)


def test_a_shard_in_the_old_code_is_refused_under_a_new_manifest(part: Part) -> None:
    path = part[0].folder / part[0].shards[1].file
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(InputError, match=rf"{path.name}: attention of schema version 1"):
        read_manifest(part[0].path)


def test_an_error_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"), ShardWriter(tmp_path / "shard.parquet") as shard:
        sample = make_sample(0)
        answer = answers(sample, "train")[0]
        shard.write(phrase_rows(sample, answer, make_observation(sample, answer, 0), "train", 0, FORMATS))
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_step_error_that_names_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    sample = make_sample(0)
    answer = answers(sample, "train")[0]
    rows = phrase_rows(sample, answer, make_observation(sample, answer, 0), "train", 0, FORMATS)
    with pytest.raises(StepError, match=r"cannot write .*shard\.parquet: No space left on device"):
        write_shard(tmp_path / "shard.parquet", [rows])
    assert list(tmp_path.iterdir()) == []


def test_attention_that_is_not_finite_names_the_answer() -> None:
    sample = make_sample(0)
    answer = answers(sample, "train")[0]
    observation = make_observation(sample, answer, 0)
    observation.attention[0][1, 0, 0, 0] = float("nan")
    with pytest.raises(
        StepError, match=r"refcoco-train-0/train/0: attention of phrase 'object 1' is not finite"
    ):
        phrase_rows(sample, answer, observation, "train", 0, FORMATS)


def test_an_answer_becomes_a_head_s_input(part: Part) -> None:
    answer = list(read_answers(part[0]))[1]
    said = answer.head_input()
    assert (len(said), said.channels, said.image_size) == (2, 12, (18, 32))
    assert said.grids == (COARSE, FINE) and said.view == FINE.view
    assert [maps.shape for maps in said.attention] == [(2, 6, 4, 4), (2, 6, 6, 8)]
    for number, phrase in enumerate(answer.phrases):
        assert torch.equal(said.attention[1][number], phrase.attention[1])
        assert torch.equal(said.hidden[number], phrase.hidden)


def test_a_head_s_sizes_are_known_from_the_first_answer(part: Part) -> None:
    assert head_sizes(part[0]) == {"channels": 12, "layers": 3, "hidden_width": 10}
    assert head_sizes(dataclasses.replace(part[0], shards=())) == {"channels": 12}
