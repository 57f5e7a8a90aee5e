"""A folder and a zip look alike: members are read by name and never unpacked; hostile zips are refused."""

import lzma
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import IO

from flmm.errors import InputError

MAX_MEMBER_BYTES = 4 << 30  # the largest upstream member (panoptic_train2017.zip) has under 1 GiB
# Deflate reaches 1000:1 only on made-up data; COCO's JSON stays under 10:1. Small members cannot hurt.
MAX_RATIO = 100
RATIO_FREE_BYTES = 64 << 20
SPOOL_BYTES = 64 << 20
_LITTER = {".ds_store", "thumbs.db", "desktop.ini"}

# What zipfile and its decompressors raise on damaged, encrypted or unsupported archives.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


class Tree(ABC):
    """Named members, read whole. ``where`` names the tree in messages."""

    where: str

    @abstractmethod
    def has(self, member: str) -> bool:
        """Whether there is a file of that name."""

    @abstractmethod
    def names(self, suffix: str) -> list[str]:
        """The files whose names end so (empty: all), sorted, without what desktops leave (``is_foreign``)."""

    @abstractmethod
    def read(self, member: str) -> bytes:
        """The member's bytes.

        Raises:
            InputError: the member is absent, damaged or unsafe (names the archive and the member).
        """

    @abstractmethod
    def inner(self, member: str) -> "Tree":
        """The tree that holds the folder ``member``: on disk its parent, or the zip ``member.zip``.

        COCO's panoptic masks are ``annotations/panoptic_val2017.zip`` inside the annotations' zip, and that
        inner zip's names begin with ``panoptic_val2017/`` again; an unpacked folder reads the same.

        Raises:
            InputError: neither is there.
        """


class Folder(Tree):
    """A directory on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)

    def has(self, member: str) -> bool:
        return is_safe_name(member) and not is_foreign(member) and (self.root / member).is_file()

    def names(self, suffix: str) -> list[str]:
        found = (path for path in self.root.rglob(f"*{suffix}") if path.is_file())
        names = (path.relative_to(self.root).as_posix() for path in found)
        return sorted(name for name in names if not is_foreign(name))

    def read(self, member: str) -> bytes:
        if not is_safe_name(member):
            raise InputError(f"{self.where}: unsafe file name {member!r}")
        try:
            return (self.root / member).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"{self.root / member}: no such file") from error
        except OSError as error:
            raise InputError(f"{self.root / member}: cannot be read ({error.strerror or error})") from error

    def inner(self, member: str) -> Tree:
        packed = self.root / f"{member}.zip"
        if packed.is_file():
            return Archive.open(packed)
        if (self.root / member).is_dir():
            return Folder((self.root / member).parent)
        raise InputError(f"{self.root / member}: no such folder, and no {packed.name} beside it")


class Archive(Tree):
    """A zip, on disk or inside another zip."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        """Read the directory of the zip in ``file``.

        Raises:
            InputError: it is not a whole zip, or a name in it would leave the folder it is unpacked in.
        """
        self.where = where
        try:
            self._zip = zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            file.close()
            raise InputError(
                f"{where}: not a whole zip file ({error}); delete it and download it again"
            ) from error
        self._file = file
        for info in self._zip.infolist():
            if not is_safe_name(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
                self.close()
                raise InputError(f"{where}: refused, it holds the unsafe name {info.filename!r}")

    @classmethod
    def open(cls, path: Path) -> "Archive":
        """Open a zip on disk.

        Raises:
            InputError: see the constructor; also a file that is absent.
        """
        try:
            file = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
        return cls(file, str(path))

    def close(self) -> None:
        """Close the file; reading is over."""
        self._zip.close()
        self._file.close()

    def has(self, member: str) -> bool:
        return member in self._zip.NameToInfo and not is_foreign(member)

    def names(self, suffix: str) -> list[str]:
        found = self._zip.NameToInfo
        return sorted(
            name
            for name in found
            if name.endswith(suffix) and not name.endswith("/") and not is_foreign(name)
        )

    def read(self, member: str) -> bytes:
        info = self._info(member)
        try:
            return self._zip.read(info)
        except _ZIP_ERRORS as error:
            raise self._damaged(member, error) from error

    def inner(self, member: str) -> Tree:
        name = f"{member}.zip"
        info, where = self._info(name), f"{self.where}: {name}"
        # Reading a deflated member at random means inflating it from its start each time: spool it once,
        # in memory while it is small. A stored one could be read in place, but upstream deflates it.
        spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - owned by the Archive
        try:
            with self._zip.open(info) as source:
                shutil.copyfileobj(source, spool, 1 << 20)
        except _ZIP_ERRORS as error:
            spool.close()
            raise self._damaged(name, error) from error
        spool.seek(0, os.SEEK_SET)
        return Archive(spool, where)

    def _info(self, member: str) -> zipfile.ZipInfo:
        info = self._zip.NameToInfo.get(member)
        if info is None:
            raise InputError(f"{self.where}: has no member {member!r}")
        ratio = info.file_size / max(1, info.compress_size)
        if info.file_size > MAX_MEMBER_BYTES or (info.file_size > RATIO_FREE_BYTES and ratio > MAX_RATIO):
            growth = f"from {info.compress_size} to {info.file_size} bytes"
            raise InputError(f"{self.where}: refused, {member!r} would grow {growth}")
        return info

    def _damaged(self, member: str, error: Exception) -> InputError:
        return InputError(
            f"{self.where}: member {member!r} is damaged ({error}); delete the file and download it again"
        )


def is_safe_name(name: str) -> bool:
    """Whether a member name stays inside the folder that it is relative to (zip-slip)."""
    path = PurePosixPath(name)
    return (
        bool(name) and not path.is_absolute() and ".." not in path.parts and not set(name) & {"\\", ":", "\0"}
    )


def is_foreign(name: str) -> bool:
    """Whether a desktop left the member beside the data: ``__MACOSX``, ``._*``, ``.DS_Store``, ``Thumbs.db``."""
    parts = PurePosixPath(name).parts
    return any(part == "__MACOSX" or part.startswith("._") or part.lower() in _LITTER for part in parts)


def find_tree(raw: Path, archive: str, member: str) -> Tree:
    """The tree that holds ``member``: ``<raw>/<archive>.zip``, or ``raw`` itself when it was unpacked there.

    Raises:
        InputError: neither is there.
    """
    packed = raw / f"{archive}.zip"
    if packed.is_file():
        return Archive.open(packed)
    folder = Folder(raw)
    if folder.has(member):
        return folder
    raise InputError(f"{packed}: no such file, nor {raw / member}; run `flmm download`")


def open_tree(raw: Path, archive: str) -> Tree:
    """The zip ``<raw>/<archive>.zip``, or the folder ``<raw>/<archive>`` that it was unpacked into.

    Raises:
        InputError: neither is there.
    """
    packed = raw / f"{archive}.zip"
    if packed.is_file():
        return Archive.open(packed)
    if (raw / archive).is_dir():
        return Folder(raw / archive)
    raise InputError(f"{packed}: no such file, nor a folder {raw / archive}; run `flmm download`")


def read_file(raw: Path, *members: str) -> tuple[str, bytes]:
    """The first of some plain files under ``raw`` that exists, as (path for messages, bytes).

    Raises:
        InputError: none exists.
    """
    folder = Folder(raw)
    for member in members:
        if folder.has(member):
            return str(raw / member), folder.read(member)
    raise InputError(f"{raw / members[0]}: no such file; run `flmm download`")
