"""One HTTP transfer into ``<name>.part``: resumed after a cut or a stall, hashed while it streams."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from types import TracebackType

import httpx
import tenacity
from rich.progress import DownloadColumn, TransferSpeedColumn

from flmm.errors import InputError, StepError
from flmm.progress import progress_bar

BLOCK_BYTES = 1 << 18
# Seconds between attempts: 1, 2, 4 … with a second of jitter, so that parallel jobs do not return together.
BACKOFF: tenacity.wait.wait_base = tenacity.wait_exponential_jitter(initial=1, max=60, jitter=1)
_RETRIED_STATUS = {408, 425, 429}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Interrupted(Exception):
    """The connection was cut, stalled or ended early: worth another attempt."""


class Transfer:
    """Bytes of ``url`` into ``part``; ``size`` and ``sha256`` describe what has arrived.

    ``expected_bytes`` None: the server's word is taken. ``timeout``: seconds without a byte until a
    connection counts as stalled.
    """

    def __init__(self, url: str, part: Path, expected_bytes: int | None, timeout: float) -> None:
        self.url = url
        self.part = part
        self.expected_bytes = expected_bytes
        self.resumed = False
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._ranges = True
        self._validator: str | None = None
        self._client = httpx.Client(timeout=timeout, follow_redirects=True)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def sha256(self) -> str:
        """Of the bytes on disk."""
        return self._digest.hexdigest()

    def run(self, retries: int) -> None:
        """Fetch until the file is whole.

        ``retries`` counts attempts in a row that brought nothing new, after the first: a 13 GB file over a
        line that is cut every minute still arrives.

        Raises:
            InputError: the server has no such file, or it is larger than expected.
            StepError: no attempt brought anything new, or the disk is full.
        """
        best, fruitless = self.size, 0

        def attempt() -> None:
            nonlocal best, fruitless
            try:
                self._attempt()
            except Interrupted:
                fruitless = 1 if self.size > best else fruitless + 1
                best = max(best, self.size)
                raise

        try:
            tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(Interrupted),
                stop=lambda _: fruitless > retries,
                wait=BACKOFF,
                reraise=True,
            )(attempt)
        except Interrupted as error:
            raise StepError(
                f"{self.url}: {error}; gave up after {fruitless} attempts that brought nothing new "
                f"({self.size} bytes are kept in {self.part}: run again to resume)"
            ) from error

    def discard(self) -> None:
        """Forget what has arrived."""
        self.part.unlink(missing_ok=True)
        self._digest, self._hashed = hashlib.sha256(), 0

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def _attempt(self) -> None:
        offset = self._resume()
        if self.expected_bytes is not None and offset == self.expected_bytes:
            return
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self._validator:
                headers["If-Range"] = self._validator
        try:
            with self._client.stream("GET", self.url, headers=headers) as response:
                total = self._begin(response, offset)
                self._receive(response, total)
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            if self.expected_bytes is not None and self.size == self.expected_bytes:
                return  # the server had announced more than the file has
            raise Interrupted(str(error) or type(error).__name__) from error
        except (httpx.InvalidURL, httpx.DecodingError) as error:
            raise InputError(f"{self.url}: {error}") from error
        if total is not None and self.size < total:
            raise Interrupted(f"the server ended after {self.size} of {total} bytes")

    def _resume(self) -> int:
        """Where to go on; hashes what an earlier process left."""
        size = self.size
        if size and (not self._ranges or (self.expected_bytes is not None and size > self.expected_bytes)):
            self.discard()
            return 0
        if size != self._hashed:
            self._digest, self._hashed = hashlib.sha256(), 0
            with self.part.open("rb") as file:
                for block in iter(lambda: file.read(BLOCK_BYTES), b""):
                    self._update(block)
        return size

    def _begin(self, response: httpx.Response, offset: int) -> int | None:
        """Check the answer's head; the whole file's size, when known."""
        status = response.status_code
        if status == 416:
            self.discard()
            raise Interrupted("the server has fewer bytes than are here: starting over")
        if status >= 500 or status in _RETRIED_STATUS:
            raise Interrupted(f"the server answers {status} {response.reason_phrase}")
        if status not in (200, 206):
            raise InputError(
                f"{self.url}: the server answers {status} {response.reason_phrase}; check the source's url"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise InputError(f"{self.url}: the server insists on compressing the file; use a mirror")
        length = response.headers.get("Content-Length", "")
        announced = int(length) if length.isascii() and length.isdigit() else None
        if status == 206:
            announced = self._check_range(response.headers.get("Content-Range", ""), offset)
            self.resumed = True
        elif offset:
            self.discard()  # it ignores ranges, or the file has changed: this answer begins at the start
        tag = response.headers.get("ETag", "")
        self._validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        total = self.expected_bytes if self.expected_bytes is not None else announced
        if total is not None:
            require_space(self.part.parent, total - self.size, self.url)
        return total

    def _check_range(self, value: str, offset: int) -> int | None:
        match = _CONTENT_RANGE.fullmatch(value)
        if match is None or int(match.group(1)) != offset:
            self._ranges = False
            raise Interrupted(f"the server sent another range than asked for ({value!r}): starting over")
        return None if match.group(2) == "*" else int(match.group(2))

    def _receive(self, response: httpx.Response, total: int | None) -> None:
        try:
            with (
                self.part.open("ab") as file,
                progress_bar(DownloadColumn(), TransferSpeedColumn()) as progress,
            ):
                task = progress.add_task(self.part.stem, total=total, completed=self._hashed)
                for block in response.iter_raw():
                    file.write(block)
                    self._update(block)
                    progress.advance(task, len(block))
                    if self.expected_bytes is not None and self._hashed > self.expected_bytes:
                        break
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StepError(f"cannot write {self.part}: {error.strerror or error}") from error
        if self.expected_bytes is not None and self._hashed > self.expected_bytes:
            self.discard()
            raise InputError(
                f"{self.url}: the server sends more than the {self.expected_bytes} bytes that are expected"
            )

    def _update(self, block: bytes) -> None:
        self._digest.update(block)
        self._hashed += len(block)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what cannot end.

    Raises:
        StepError: ``folder``'s disk has fewer than ``needed`` free bytes.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StepError(f"{what}: needs {needed:,} bytes in {folder}, whose disk has {free:,} free")
