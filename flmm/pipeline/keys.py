"""Keys: 12 hexadecimal digits over everything that a step's results depend on, near and far.

A key is cumulative: the step's own values and code, and the keys of the steps that it reads. So a change anywhere
upstream changes every key downstream, and nothing has to be remembered of what ran before. A download is its
bytes: its key is its SHA-256, given in params.yaml or found when it arrived. Before that it is unknown, and so is
every key after it.
"""

from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from flmm.data.download import Arrived, read_arrived
from flmm.errors import InputError
from flmm.files import read_json, sha256_of
from flmm.params import Params
from flmm.pipeline import content, paths
from flmm.pipeline.code import code_hash
from flmm.pipeline.hashes import Hashes
from flmm.pipeline.step import GENERATE, Step
from flmm.pipeline.steps import Graph

DIGITS = 12


class Keys:
    """The keys of a graph's steps; None where a file that is not here yet decides."""

    def __init__(self, graph: Graph, hashes: Hashes | None = None) -> None:
        self.graph = graph
        self.hashes = hashes or Hashes()
        self._known: dict[Step, str | None] = {}
        self._codes: dict[tuple[str, ...], str] = {}

    @property
    def params(self) -> Params:
        """What the graph was made from."""
        return self.graph.params

    def key(self, step: Step) -> str | None:
        """The key of one step's results."""
        if step not in self._known:
            self._known[step] = self._key(step)
        return self._known[step]

    def known(self, step: Step) -> str:
        """The same where it has to be known.

        Raises:
            InputError: an upstream file is not here yet (names it).
        """
        found = self.key(step)
        if found is None:
            missing = next(source for source in self.graph.sources if self.identity(source) is None)
            raise InputError(f"{step}: needs {missing}, which was not downloaded yet; run `snakemake`")
        return found

    def own(self, step: Step) -> str:
        """A hash of the step's own values and code, without those of the steps that it reads."""
        modules = tuple(content.entries(self.graph, step))
        if modules not in self._codes:
            self._codes[modules] = code_hash(modules, content.FILES.get(step.name, ()), self.hashes)
        return sha256_of([content.values(self.graph, step, self.hashes), self._codes[modules]])

    def store(self, archive: str) -> str | None:
        """The address of an archive's image embeddings; which of its images are there is no part of it."""
        upstream = [Step("download", item=archive), *self.graph.segmenter_source()]
        return self._short(Step("embed", item=archive), upstream)

    def identity(self, source: str) -> str | None:
        """The SHA-256 of an upstream file, or None where nothing tells it yet."""
        entry = self.params.sources[source]
        if entry.sha256:
            return entry.sha256
        path = self._local(source)
        if (
            path is not None
            and path.is_file()
            and (not self.graph.is_generated(source) or self._is_generated)
        ):
            return self.hashes.file(path)
        if path is None and entry.url is None:
            return None
        for record in (self.arrived(source), _read(paths.digest(self.params, source))):
            if record is not None and record.origin is not None and record.origin == self.origin(source):
                return record.sha256
        return None

    def origin(self, source: str) -> str | None:
        """What makes the bytes of a source known without having them: the generator's key, or a remote address.

        None where a sum in params.yaml says what they are, or the file itself does.
        """
        entry = self.params.sources[source]
        if self.graph.is_generated(source):
            return f"generate {self.key(GENERATE)}"
        return entry.url if entry.sha256 is None and is_remote(entry.url) else None

    def arrived(self, source: str) -> Arrived | None:
        """What was recorded when the file in ``data/raw`` arrived."""
        return _read(record_of(paths.raw(self.params) / source))

    def _local(self, source: str) -> Path | None:
        """Where a source that is not remote lies: its own place, or where somebody put it by hand."""
        url = self.params.sources[source].url
        if url is None:
            path = paths.raw(self.params) / source
            return path if path.is_file() else None
        return None if is_remote(url) else local_path(source, url)

    @cached_property
    def _is_generated(self) -> bool:
        """Whether the mirror that is here is the one that these params and this code make."""
        record = paths.mirror() / "key.json"
        try:
            return read_json(record).get("key") == self.key(GENERATE)
        except InputError:
            return False

    def _key(self, step: Step) -> str | None:
        if step.name in ("download", "digest"):
            return self.identity(step.item)
        return self._short(step, self.graph.reads(step))

    def _short(self, step: Step, reads: list[Step]) -> str | None:
        upstream: dict[str, str] = {}
        for read in reads:
            # Whoever reads embeddings reads those of its own images: which others are there does not matter.
            found = self.store(read.item) if read.name == "embed" and step.name != "track" else self.key(read)
            if found is None:
                return None
            upstream[str(read)] = found
        return sha256_of([step.name, self.own(step), upstream])[:DIGITS]


def is_remote(url: str | None) -> bool:
    """Whether a source has to be fetched."""
    return (url or "").startswith(("http://", "https://"))


def local_path(source: str, url: str) -> Path:
    """The file that a ``file:`` url or a path names; a folder stands for the file of the source's name in it."""
    path = Path(unquote(url.removeprefix("file:").removeprefix("//localhost").removeprefix("//")))
    return path / source if path.is_dir() else path


def record_of(file: Path) -> Path:
    """The record beside a downloaded file."""
    return file.with_name(f"{file.name}.json")


def _read(path: Path) -> Arrived | None:
    return read_arrived(path) if path.is_file() else None
