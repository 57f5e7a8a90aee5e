"""One upstream file, whole and checked, under its upstream name; ``<name>.json`` records what arrived."""

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from flmm.data.transfer import BLOCK_BYTES, Transfer, require_space
from flmm.errors import InputError, StepError
from flmm.files import atomic_path, md5_file, read_json, sha256_file, write_json
from flmm.params import Download, Source

_BY_HAND = {
    "png_coco_train2017.json": "https://bcv-uniandes.github.io/panoptic-narrative-grounding/#downloads",
    "png_coco_val2017.json": "https://bcv-uniandes.github.io/panoptic-narrative-grounding/#downloads",
}


@dataclass(frozen=True)
class Record:
    """What a file was when it arrived."""

    url: str | None
    bytes: int
    sha256: str


def download(source_name: str, source: Source, destination: Path, settings: Download) -> Record:
    """Bring one source to ``destination`` and write its record beside it.

    ``url`` is http(s), ``file:`` (relative to the working directory when it has no leading slash), or a path;
    a directory stands for the file of the source's name in it. A file that is there and right is kept. When
    params.yaml has no sha256, a remote file's first download is recorded and later ones must equal it; a
    local file is the user's own and its record follows it.

    Raises:
        InputError: no url, no such file, or not the expected bytes (names params key, file and both sums).
        StepError: the server stays away, or the disk is full; what arrived is kept for the next run.
    """
    record_path = destination.with_name(f"{destination.name}.json")
    remote = (source.url or "").startswith(("http://", "https://"))
    known = _read_record(record_path) if remote else None
    expected = _Expectation(
        source_name, source, known if known and known.url == source.url else None, record_path
    )
    found = _keep(destination, source, expected, remote)
    if found is None:
        _make_folder(destination.parent)
        if source.url is None:
            raise InputError(_by_hand(source_name, destination))
        if remote:
            found = _fetch(source.url, destination, expected, settings)
        else:
            found = _copy(source.url, _local(source_name, source.url), destination, expected)
    if not record_path.is_file() or _read_record(record_path) != found:
        write_json(record_path, asdict(found))
    return found


class _Expectation:
    """What the file must be: params.yaml's word, else the record of the first download."""

    def __init__(self, name: str, source: Source, known: Record | None, record_path: Path) -> None:
        self.name = name
        self.bytes = source.bytes
        self.md5 = source.md5
        self.sha256 = source.sha256
        self.origin = f"params.yaml expects (sources.{name})"
        if known is not None and source.sha256 is None and source.bytes in (None, known.bytes):
            self.bytes, self.sha256 = known.bytes, known.sha256
            self.origin = f"arrived the first time; if the new file is right, delete {record_path}. Recorded"

    def problem(self, found: Record, path: Path) -> str | None:
        """What is wrong with a file that lies at ``path``, or None."""
        if self.bytes is not None and found.bytes != self.bytes:
            return f"{found.bytes} bytes instead of the {self.bytes} that {self.origin}"
        if self.sha256 is not None and found.sha256 != self.sha256:
            return f"sha256 {found.sha256} is not the one that {self.origin}: {self.sha256}"
        if self.md5 is not None and (md5 := md5_file(path)) != self.md5:
            return f"md5 {md5} is not the one that params.yaml expects (sources.{self.name}): {self.md5}"
        return None


def _keep(destination: Path, source: Source, expected: _Expectation, remote: bool) -> Record | None:
    """The record of a file that is already there and right; None when it has to be fetched (again)."""
    if not destination.is_file():
        return None
    # A local source without a sum may have changed since it was copied: copying it again is the check.
    if source.url is not None and not remote and source.sha256 is None:
        return None
    found = Record(source.url, destination.stat().st_size, sha256_file(destination))
    problem = expected.problem(found, destination)
    if problem is None:
        return found
    if source.url is None:
        raise InputError(f"{destination}: {problem}")
    return None


def _fetch(url: str, destination: Path, expected: _Expectation, settings: Download) -> Record:
    part = destination.with_name(f"{destination.name}.part")
    if expected.sha256 is None:
        # Nothing could tell a file that was put together from two versions: begin anew in every process.
        part.unlink(missing_ok=True)
    if expected.bytes is not None:
        have = part.stat().st_size if part.is_file() else 0
        require_space(destination.parent, expected.bytes - have, expected.name)
    with Transfer(url, part, expected.bytes, settings.timeout) as transfer:
        transfer.run(settings.retries)
        problem = expected.problem(Record(url, transfer.size, transfer.sha256), part)
        if problem and transfer.resumed:
            transfer.discard()  # the pieces may not belong together: once more in one go
            transfer.run(settings.retries)
        found = Record(url, transfer.size, transfer.sha256)
        problem = expected.problem(found, part) or _wrong_kind(part, destination.name)
        if problem:
            transfer.discard()
            raise InputError(f"{expected.name}: {url}: {problem}")
    try:
        part.replace(destination)
    except OSError as error:
        raise StepError(f"cannot write {destination}: {error.strerror or error}") from error
    return found


def _copy(url: str, path: Path, destination: Path, expected: _Expectation) -> Record:
    require_space(destination.parent, path.stat().st_size, expected.name)
    digest, size = hashlib.sha256(), 0
    with atomic_path(destination) as temporary:
        with temporary.open("wb") as file:
            for block in _blocks(path):
                file.write(block)
                digest.update(block)
                size += len(block)
        found = Record(url, size, digest.hexdigest())
        problem = expected.problem(found, temporary) or _wrong_kind(temporary, destination.name)
        if problem:
            raise InputError(f"{expected.name}: {path}: {problem}")
    return found


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _local(name: str, url: str) -> Path:
    """The file that a ``file:`` url or a path names."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        path = Path(url)
    elif scheme == "file":
        path = Path(unquote(rest.removeprefix("//localhost").removeprefix("//")))
    else:
        raise InputError(f"params.yaml: sources.{name}.url: {scheme}: is not http, https or file")
    path = path / name if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is the url of sources.{name} in params.yaml")
    return path


def _wrong_kind(path: Path, name: str) -> str | None:
    """What a server that sends a page or a piece instead of the file would get recorded as."""
    with path.open("rb") as file:
        head = file.read(64).lstrip()
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read().rstrip()
    if name.endswith(".zip") and not zipfile.is_zipfile(path):
        return "not a whole zip file"
    if name.endswith(".json") and not (head[:1] in (b"[", b"{") and tail[-1:] in (b"]", b"}")):
        return "not a whole JSON file"
    if not head or head[:1] == b"<":
        return "an empty file or a web page"
    return None


def _read_record(path: Path) -> Record | None:
    if not path.is_file():
        return None
    value = read_json(path)
    try:
        return Record(value["url"], int(value["bytes"]), str(value["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a download record; delete it and download again") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepError(f"cannot write {folder}: {error.strerror or error}") from error


def _by_hand(name: str, destination: Path) -> str:
    page = _BY_HAND.get(name)
    place = f"get the file from {page}" if page else "get the file by hand"
    key = f"suites.{destination.parent.name}.sources.{name}.url"
    return (
        f"{name}: nobody serves it: {place}, then put its path in params.yaml ({key}) or it at {destination}"
    )
