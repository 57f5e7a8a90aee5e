"""Faults of servers, disks and params on the way to one whole, checked file."""

import hashlib
import json
import random
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from flmm.data.download import Arrived
from flmm.data.download import download as bring
from flmm.errors import InputError, StepError
from flmm.params import Download, Source
from tests.data import loopback
from tests.data.coco_files import zip_bytes
from tests.data.loopback import Answer, serving

CONTENT = random.Random(5).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SETTINGS = Download(retries=2, timeout=60)
IMPATIENT = Download(retries=2, timeout=1)  # for a server that falls silent


def download(name: str, wanted: Source, path: Path, settings: Download) -> Arrived:
    """With the origin as the pipeline has it: the address, where no sum stands for the bytes."""
    remote = (wanted.url or "").startswith("http")
    return bring(name, wanted, path, settings, wanted.url if remote and wanted.sha256 is None else None)


def source(
    url: str | None, *, size: int | None = len(CONTENT), sha256: str | None = SHA256, md5: str | None = None
) -> Source:
    return Source(url=url, bytes=size, sha256=sha256, md5=md5)


def is_whole(path: Path) -> bool:
    """The file and its record, and nothing half-written beside them."""
    record = json.loads(path.with_name(path.name + ".json").read_text())
    names = {entry.name for entry in path.parent.iterdir()}
    return (
        path.read_bytes() == CONTENT
        and record["bytes"] == len(CONTENT)
        and record["sha256"] == SHA256
        and names == {path.name, path.name + ".json"}
    )


def nothing_but(path: Path, *suffixes: str) -> bool:
    return {entry.name for entry in path.parent.glob("*")} <= {path.name + suffix for suffix in suffixes}


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (loopback.cut,),
        (loopback.cut, loopback.cut, loopback.cut, loopback.cut, loopback.cut),
        (loopback.stall,),
        (loopback.cut, loopback.ignore_range),
        (loopback.cut, loopback.wrong_range),
        (loopback.announce_more,),
        (loopback.announce_less,),
        (loopback.status(503), loopback.status(429)),
        (loopback.cut, loopback.status(416)),
    ],
    ids=lambda faults: "+".join(getattr(f, "__name__", "?") for f in faults) or "none",
)
@pytest.mark.parametrize("known", [True, False], ids=["pinned", "size-only"])
def test_a_faulty_line_still_brings_the_whole_file(
    tmp_path: Path, faults: tuple[Answer, ...], known: bool
) -> None:
    path = tmp_path / "data.bin"
    with serving(CONTENT, *faults) as server:
        settings = IMPATIENT if loopback.stall in faults else SETTINGS
        download("data.bin", source(server.url, sha256=SHA256 if known else None), path, settings)
    assert is_whole(path)


def test_a_resumed_file_with_a_wrong_sum_is_fetched_once_more_in_one_go(tmp_path: Path) -> None:
    with serving(CONTENT, loopback.corrupt_then_cut) as server:
        download("data.bin", source(server.url), tmp_path / "data.bin", SETTINGS)
    assert is_whole(tmp_path / "data.bin") and server.offsets == [0, 5000, 0]


def test_a_cut_connection_is_resumed_where_it_ended(tmp_path: Path) -> None:
    with serving(CONTENT, loopback.cut) as server:
        download("data.bin", source(server.url), tmp_path / "data.bin", SETTINGS)
    assert server.offsets == [0, len(CONTENT) // 2]


def test_a_part_of_an_earlier_process_is_hashed_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:123_456])
    with serving(CONTENT) as server:
        download("data.bin", source(server.url), tmp_path / "data.bin", SETTINGS)
    assert server.offsets == [123_456] and is_whole(tmp_path / "data.bin")


@pytest.mark.parametrize(
    "part", [CONTENT, CONTENT + b"more", b"other" * 1000], ids=["whole", "long", "foreign"]
)
def test_any_part_that_is_left_over_ends_as_the_right_file(tmp_path: Path, part: bytes) -> None:
    (tmp_path / "data.bin.part").write_bytes(part)
    with serving(CONTENT) as server:
        download("data.bin", source(server.url), tmp_path / "data.bin", SETTINGS)
    assert is_whole(tmp_path / "data.bin")


def test_a_part_of_a_file_without_a_sum_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    with serving(CONTENT) as server:
        download("data.bin", source(server.url, sha256=None), tmp_path / "data.bin", SETTINGS)
    assert server.offsets == [0] and is_whole(tmp_path / "data.bin")


def test_a_dead_line_ends_in_a_step_error_and_the_next_run_repairs_it(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    faults = [loopback.cut, *[loopback.status(500)] * 3]
    with serving(CONTENT, *faults) as server:
        with pytest.raises(StepError, match=r"gave up after 3 attempts.*run again to resume"):
            download("data.bin", source(server.url), path, SETTINGS)
        assert nothing_but(path, ".part")
        download("data.bin", source(server.url), path, SETTINGS)
        assert server.offsets[-1] == len(CONTENT) // 2
    assert is_whole(path)


def test_a_server_that_is_cut_and_ignores_ranges_is_given_up(tmp_path: Path) -> None:
    with serving(CONTENT, *[loopback.ignore_range_and_cut] * 20) as server, pytest.raises(StepError):
        download("data.bin", source(server.url), tmp_path / "data.bin", SETTINGS)
    assert len(server.offsets) <= SETTINGS.retries + 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (loopback.corrupt, "sha256"),
        (loopback.status(404), "404"),
        (loopback.status(403), "403"),
        (loopback.compressed, "compressing"),
        (loopback.endless, "more than the 300000 bytes"),
    ],
)
def test_a_wrong_file_is_an_input_error_that_leaves_nothing(
    tmp_path: Path, fault: Answer, message: str
) -> None:
    path = tmp_path / "data.bin"
    with serving(CONTENT, fault) as server:
        with pytest.raises(InputError, match=message):
            download("data.bin", source(server.url), path, SETTINGS)
        assert nothing_but(path)
        download("data.bin", source(server.url), path, SETTINGS)
    assert is_whole(path)


@pytest.mark.parametrize("local", [True, False])
def test_a_publishers_md5_is_checked_as_well(tmp_path: Path, local: bool) -> None:
    out = tmp_path / "out" / "file.bin"
    origin = tmp_path / "origin.bin"
    origin.write_bytes(CONTENT)
    right = hashlib.md5(CONTENT).hexdigest()
    with serving(CONTENT) as server:
        url = str(origin) if local else server.url
        with pytest.raises(InputError, match=rf"md5 {right} is not the one that params.yaml expects"):
            download("file.bin", source(url, sha256=None, md5="0" * 32), out, SETTINGS)
        assert nothing_but(out)
        download("file.bin", source(url, sha256=None, md5=right), out, SETTINGS)
    assert is_whole(out)


def test_a_page_or_a_piece_is_not_recorded_as_the_file(tmp_path: Path) -> None:
    archive = zip_bytes({"a": CONTENT})
    for name, content in (
        ("a.zip", b"<html>sign in</html>"),
        ("a.zip", archive[:-100]),
        ("a.json", b'[{"a": 1'),
        ("a.tsv", b" <!doctype html>"),
        ("b.tsv", b""),
    ):
        with serving(content) as server, pytest.raises(InputError, match=r"a web page|not a whole"):
            download(name, source(server.url, size=None, sha256=None), tmp_path / name, SETTINGS)
        assert not any(tmp_path.iterdir())


def test_without_a_sum_the_first_download_is_recorded_and_later_ones_must_equal_it(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    with serving(CONTENT) as server:
        plain = source(server.url, size=None, sha256=None)
        download("data.bin", plain, path, SETTINGS)
        assert is_whole(path)
        path.unlink()
        server.content = CONTENT[::-1]
        with pytest.raises(InputError, match=r"data\.bin.*delete .*data\.bin\.json"):
            download("data.bin", plain, path, SETTINGS)
        assert not path.exists()
        path.with_name("data.bin.json").unlink()
        download("data.bin", plain, path, SETTINGS)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_right_file_is_kept_and_a_damaged_one_is_fetched_again(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    with serving(CONTENT) as server:
        download("data.bin", source(server.url), path, SETTINGS)
        assert server.offsets == []
        path.write_bytes(CONTENT[:-1] + b"!")
        download("data.bin", source(server.url), path, SETTINGS)
    assert is_whole(path)


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("size", [len(CONTENT), None], ids=["pinned", "announced"])
def test_a_disk_that_is_too_small_is_seen_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    with serving(CONTENT) as server, pytest.raises(StepError, match=r"needs 300,000 bytes .* 1,000 free"):
        download("data.bin", source(server.url, size=size), tmp_path / "data.bin", SETTINGS)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_fills_up_is_a_step_error_naming_the_file(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").symlink_to("/dev/full")
    with serving(CONTENT) as server, pytest.raises(StepError, match=r"data\.bin\.part: No space left"):
        download("data.bin", source(server.url), tmp_path / "data.bin", SETTINGS)
    assert not (tmp_path / "data.bin").exists()


def test_a_record_of_another_address_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    with serving(CONTENT[::-1]) as first, serving(CONTENT) as second:
        for server in (first, second):
            found = download("data.bin", source(server.url, size=None, sha256=None), path, SETTINGS)
            assert found.origin == server.url
            path.unlink()
    assert found.sha256 == SHA256


@pytest.mark.parametrize("url", ["file:nowhere/data.bin", "nowhere", "s3://bucket/data.bin"])
def test_a_source_that_is_not_there_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"sources\.data\.bin"):
        download("data.bin", source(url), tmp_path / "data.bin", SETTINGS)


def test_a_source_without_address_says_which_key_to_fill_and_where_to_get_it(tmp_path: Path) -> None:
    name = "png_coco_val2017.json"
    path = tmp_path / "paper" / name
    nowhere = source(None, size=None, sha256=None)
    with pytest.raises(
        InputError, match=rf"panoptic-narrative-grounding.*suites\.paper\.sources\.{name}\.url"
    ):
        download(name, nowhere, path, SETTINGS)
    path.parent.mkdir()
    path.write_bytes(b"[]")
    assert download(name, nowhere, path, SETTINGS).bytes == 2
