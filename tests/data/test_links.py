"""Local sources: they are linked, stay as they are, and no download writes through a link."""

from pathlib import Path

import pytest

from flmm.errors import InputError
from tests.data import loopback
from tests.data.loopback import Answer, serving
from tests.data.test_download import CONTENT, SETTINGS, SHA256, download, is_whole, source


def test_local_sources_are_files_paths_and_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a mirror").mkdir()
    (tmp_path / "a mirror" / "data.bin").write_bytes(CONTENT)
    absolute = tmp_path / "a mirror" / "data.bin"
    for number, url in enumerate(
        ("file:a mirror/data.bin", "file:a%20mirror", absolute.as_uri(), str(absolute), str(absolute.parent))
    ):
        path = tmp_path / f"raw{number}" / "data.bin"
        download("data.bin", source(url), path, SETTINGS)
        assert is_whole(path)


def test_a_local_file_is_linked_and_not_copied(tmp_path: Path) -> None:
    origin, path = tmp_path / "from.bin", tmp_path / "raw" / "data.bin"
    origin.write_bytes(CONTENT)
    for _ in range(2):
        download("data.bin", source(str(origin)), path, SETTINGS)
        assert path.is_symlink() and path.samefile(origin) and not origin.is_symlink()
        assert is_whole(path)


def test_a_link_inside_the_project_moves_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "mirror").mkdir(parents=True)
    (project / "mirror" / "data.bin").write_bytes(CONTENT)
    monkeypatch.chdir(project)
    download("data.bin", source("file:mirror"), Path("data/raw/data.bin"), SETTINGS)
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    assert is_whole(tmp_path / "moved" / "data" / "raw" / "data.bin")


def test_a_local_source_that_changed_is_recorded_again(tmp_path: Path) -> None:
    origin, path = tmp_path / "from.bin", tmp_path / "raw" / "data.bin"
    plain = source(f"file:{origin}", size=None, sha256=None)
    for content in (b"first mirror", CONTENT):
        origin.write_bytes(content)
        download("data.bin", plain, path, SETTINGS)
    assert is_whole(path)


def test_a_link_follows_its_source_to_another_place(tmp_path: Path) -> None:
    path = tmp_path / "raw" / "data.bin"
    for name, content in (("first.bin", b"first mirror"), ("second.bin", CONTENT)):
        (tmp_path / name).write_bytes(content)
        download("data.bin", source(str(tmp_path / name), size=None, sha256=None), path, SETTINGS)
        assert path.samefile(tmp_path / name)
    assert is_whole(path) and (tmp_path / "first.bin").read_bytes() == b"first mirror"


@pytest.mark.parametrize("content", [b"somebody's own", CONTENT, None], ids=["other", "same", "dangling"])
@pytest.mark.parametrize("faults", [(), (loopback.cut,)], ids=["whole", "cut"])
def test_a_download_never_writes_through_a_link(
    tmp_path: Path, content: bytes | None, faults: tuple[Answer, ...]
) -> None:
    own, path = tmp_path / "own.bin", tmp_path / "raw" / "data.bin"
    path.parent.mkdir()
    path.symlink_to(own)
    if content is not None:
        own.write_bytes(content)
    with serving(CONTENT, *faults) as server:
        download("data.bin", source(server.url), path, SETTINGS)
    assert is_whole(path) and not path.is_symlink()
    assert (own.read_bytes() if own.exists() else None) == content


def test_a_file_that_was_downloaded_gives_way_to_a_link(tmp_path: Path) -> None:
    own, path = tmp_path / "own.bin", tmp_path / "raw" / "data.bin"
    with serving(CONTENT) as server:
        download("data.bin", source(server.url), path, SETTINGS)
    own.write_bytes(CONTENT)
    download("data.bin", source(str(own)), path, SETTINGS)
    assert path.is_symlink() and is_whole(path)


def test_a_local_file_with_another_sum_is_refused(tmp_path: Path) -> None:
    (tmp_path / "from.bin").write_bytes(CONTENT[::-1])
    with pytest.raises(InputError, match=rf"data\.bin: .*from\.bin: sha256 .*{SHA256}"):
        download("data.bin", source(str(tmp_path / "from.bin")), tmp_path / "raw" / "data.bin", SETTINGS)
    assert not any(tmp_path.glob("raw/*"))
