"""REFER's ``refs(*).p`` without running it: a pickle of plain data, everything else refused."""

import io
import pickle
import re
import struct
from typing import Any, ClassVar

import numpy as np
from pydantic_core import from_json

from flmm.errors import InputError

# Kinds of NumPy scalars that are plain: booleans, whole numbers, floats, text and bytes.
_KIND = re.compile(r"[biuf][1248]|[US]\d{1,5}")


class _Refused(Exception):
    """The pickle wanted a global that plain data does not need."""


class _Kind:
    """Stands for ``numpy.dtype`` while a scalar is read; made of its code, then told the order of its bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not (isinstance(code, str) and _KIND.fullmatch(code)):
            raise _Refused(f"numpy.dtype({str(code)[:20]!r})")
        self.kind = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, itemsize, alignment, flags): plain kinds have no more.
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise _Refused("numpy.dtype with fields")
        self.kind = self.kind.newbyteorder(state[1])


def _scalar(kind: Any, data: Any) -> Any:
    """Stands for ``numpy.core.multiarray.scalar``: the plain Python value of one scalar's bytes."""
    if not isinstance(kind, _Kind):
        raise _Refused("numpy scalar of no dtype")
    size = kind.kind.itemsize
    if isinstance(
        data, str
    ):  # Python 2's bytes, read as text: only one of the two readings has the right length
        found = [raw for raw in map(_encoded, ("latin-1", "utf-8"), [data] * 2) if len(raw) == size]
        data = found[0] if found else b""
    if not isinstance(data, bytes) or len(data) != size:
        raise ValueError("a NumPy scalar of another length than its kind's")
    if kind.kind.kind == "U":  # NumPy itself trips over numbers that are no characters
        return data.decode("utf-32-be" if kind.kind.byteorder == ">" else "utf-32-le").rstrip("\0")
    return np.frombuffer(data, dtype=kind.kind)[0].item()


def _encoded(encoding: str, text: str) -> bytes:
    return text.encode(encoding, errors="ignore")


def _latin_1(text: Any, encoding: Any) -> bytes:
    """Stands for ``_codecs.encode``: how Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("_codecs.encode")
    return text.encode("latin-1")


# The only globals that pickles of plain data name; all other plain types have opcodes of their own. NumPy's are
# what ids become on their way through a data frame.
_PLAIN: dict[tuple[str, str], Any] = {
    ("__builtin__", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("_codecs", "encode"): _latin_1,
    ("numpy", "dtype"): _Kind,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}

# What the pickle machine raises on damaged bytes; memory and recursion belong to made-up ones.
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    ImportError,
)


# The C machine sizes its memo by an index in the data, up to 64 GB of memory; the Python one has a dict.
class _PlainUnpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def load_build(self) -> None:
        """Give an object its state: only a scalar's kind has one, and nothing may change the functions above."""
        if not isinstance(self.stack[-2], _Kind):  # type: ignore[attr-defined]
            raise _Refused("the state of an object")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        """Read the bytes that are there: the machine's own sets aside, and fills, as many as the data claims."""
        (size,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        self.append(bytearray(self.read(size)))  # type: ignore[attr-defined]

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PLAIN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def _decode_string(self, value: bytes) -> str:
        """Python 2's ``str`` holds bytes: UTF-8 where they are, else Latin-1, in which all bytes are text."""
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")


def load_plain(data: bytes, where: str) -> Any:
    """Unpickle containers, strings, numbers, booleans, None and NumPy scalars, which become Python's.

    Strings of Python 2 are read as UTF-8, or as Latin-1 where they are no UTF-8.

    Raises:
        InputError: the pickle wants any other global (names ``where`` and the global; nothing of it has
            run), or it is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except _Refused as error:
        raise InputError(
            f"{where}: refused, this pickle wants to run {error}; plain data never does: do not trust it"
        ) from error
    except _PICKLE_ERRORS as error:
        raise InputError(f"{where}: not a readable pickle ({type(error).__name__}: {error})") from error


def load_json_or_plain(data: bytes, where: str) -> Any:
    """The same of a file that may also hold JSON, told apart by its first character: no pickle begins like it.

    Raises:
        InputError: see ``load_plain``; JSON that is damaged.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] not in (b"[", b"{"):
        return load_plain(data, where)
    try:
        return from_json(text)
    except ValueError as error:
        raise InputError(f"{where}: neither a readable pickle nor JSON ({error})") from error
