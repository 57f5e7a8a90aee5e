"""One upstream file, whole and checked, under its upstream name; ``<name>.json`` records what arrived."""

import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from flmm.data.transfer import Transfer, require_space
from flmm.errors import InputError, StepError
from flmm.files import md5_file, read_json, sha256_file, write_json
from flmm.params import Download, Source

_BY_HAND = {
    "png_coco_train2017.json": "https://bcv-uniandes.github.io/panoptic-narrative-grounding/#downloads",
    "png_coco_val2017.json": "https://bcv-uniandes.github.io/panoptic-narrative-grounding/#downloads",
    "ReasonSeg_val.zip": "https://github.com/dvlab-research/LISA#dataset (there val.zip)",
    "ReasonSeg_test.zip": "https://github.com/dvlab-research/LISA#dataset (there test.zip)",
}


@dataclass(frozen=True)
class Arrived:
    """What a file was when it arrived. ``origin``: what stands for its bytes where params.yaml gives no sum."""

    bytes: int
    sha256: str
    origin: str | None


def download(
    source_name: str, source: Source, destination: Path, settings: Download, origin: str | None
) -> Arrived:
    """Bring one source to ``destination`` and write its record beside it.

    ``url`` is http(s), ``file:`` (relative to the working directory when it has no leading slash), or a path;
    a directory stands for the file of the source's name in it. A local file is linked and stays where it lies. A file
    that is there and right is kept. When params.yaml has no sha256, a remote file's first download is recorded and
    later ones from the same address must equal it.

    Raises:
        InputError: no url, no such file, or not the expected bytes (names params key, file and both sums).
        StepError: the server stays away, or the disk is full; what arrived is kept for the next run.
    """
    record_path = destination.with_name(f"{destination.name}.json")
    remote = (source.url or "").startswith(("http://", "https://"))
    known = read_arrived(record_path) if remote and record_path.is_file() else None
    expected = _Expectation(
        source_name, source, known if known and known.origin == origin else None, record_path
    )
    if source.url is None:
        found = _by_itself(source_name, destination, expected)
    elif remote:
        kept = _keep(destination, expected)
        found = kept or _fetch(source.url, destination, expected, settings)
    else:
        found = _link(_local(source_name, source.url), destination, expected)
    found = Arrived(found.bytes, found.sha256, origin)
    if known != found:
        write_json(record_path, asdict(found))
    return found


class _Expectation:
    """What the file must be: params.yaml's word, else the record of the first download."""

    def __init__(self, name: str, source: Source, known: Arrived | None, record_path: Path) -> None:
        self.name = name
        self.bytes = source.bytes
        self.md5 = source.md5
        self.sha256 = source.sha256
        self.origin = f"params.yaml expects (sources.{name})"
        if known is not None and source.sha256 is None and source.bytes in (None, known.bytes):
            self.bytes, self.sha256 = known.bytes, known.sha256
            self.origin = f"arrived the first time; if the new file is right, delete {record_path}. Recorded"

    def problem(self, found: Arrived, path: Path) -> str | None:
        """What is wrong with a file that lies at ``path``, or None."""
        if self.bytes is not None and found.bytes != self.bytes:
            return f"{found.bytes} bytes instead of the {self.bytes} that {self.origin}"
        if self.sha256 is not None and found.sha256 != self.sha256:
            return f"sha256 {found.sha256} is not the one that {self.origin}: {self.sha256}"
        if self.md5 is not None and (md5 := md5_file(path)) != self.md5:
            return f"md5 {md5} is not the one that params.yaml expects (sources.{self.name}): {self.md5}"
        return None


def _keep(destination: Path, expected: "_Expectation") -> Arrived | None:
    """The record of a file that is already there and right; None when it has to be fetched (again)."""
    if destination.is_symlink():
        destination.unlink()  # of a source that was local: a download must not write through the link
    if not destination.is_file():
        return None
    found = _measured(destination)
    return found if expected.problem(found, destination) is None else None


def _by_itself(name: str, destination: Path, expected: "_Expectation") -> Arrived:
    """The record of a file that somebody put there by hand."""
    if not destination.is_file():
        raise InputError(by_hand(name, destination))
    found = _measured(destination)
    if problem := expected.problem(found, destination):
        raise InputError(f"{destination}: {problem}")
    return found


def _measured(path: Path) -> Arrived:
    return Arrived(path.stat().st_size, sha256_file(path), None)


def _fetch(url: str, destination: Path, expected: _Expectation, settings: Download) -> Arrived:
    _make_folder(destination.parent)
    part = destination.with_name(f"{destination.name}.part")
    if expected.sha256 is None:
        # Nothing could tell a file that was put together from two versions: begin anew in every process.
        part.unlink(missing_ok=True)
    if expected.bytes is not None:
        have = part.stat().st_size if part.is_file() else 0
        require_space(destination.parent, expected.bytes - have, expected.name)
    with Transfer(url, part, expected.bytes, settings.timeout) as transfer:
        transfer.run(settings.retries)
        problem = expected.problem(Arrived(transfer.size, transfer.sha256, None), part)
        if problem and transfer.resumed:
            transfer.discard()  # the pieces may not belong together: once more in one go
            transfer.run(settings.retries)
        found = Arrived(transfer.size, transfer.sha256, None)
        problem = expected.problem(found, part) or _wrong_kind(part, destination.name)
        if problem:
            transfer.discard()
            raise InputError(f"{expected.name}: {url}: {problem}")
    try:
        part.replace(destination)
    except OSError as error:
        raise StepError(f"cannot write {destination}: {error.strerror or error}") from error
    return found


def _link(path: Path, destination: Path, expected: "_Expectation") -> Arrived:
    """A local file is read where it lies."""
    try:
        found = _measured(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    problem = expected.problem(found, path) or _wrong_kind(path, destination.name)
    if problem:
        raise InputError(f"{expected.name}: {path}: {problem}")
    inside = path.resolve().is_relative_to(Path.cwd())
    target = os.path.relpath(path.resolve(), destination.parent.resolve()) if inside else path.resolve()
    temporary = destination.with_name(f".{destination.name}.tmp")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(destination)
    except OSError as error:
        raise StepError(f"cannot write {destination}: {error.strerror or error}") from error
    return found


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


def read_arrived(path: Path) -> Arrived:
    """Read the record of a download.

    Raises:
        InputError: it is none.
    """
    value = read_json(path)
    try:
        return Arrived(int(value["bytes"]), str(value["sha256"]), value["origin"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a download record; delete it and download again") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepError(f"cannot write {folder}: {error.strerror or error}") from error


def by_hand(name: str, destination: Path) -> str:
    """What to do about a file without an address; ``destination``: where it belongs."""
    page = _BY_HAND.get(name)
    place = f"get the file from {page}" if page else "get the file by hand"
    key = f"suites.{destination.parent.name}.sources.{name}.url"
    return f"{name}: nobody serves it: {place}, then put its path into params.yaml ({key}) or the file at {destination}"
