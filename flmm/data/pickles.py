"""REFER's ``refs(*).p`` without running it: a pickle of plain data, everything else refused."""

import io
import pickle
import struct
from typing import Any

from flmm.errors import InputError

# The only globals that Python 2 pickles of plain data name; all other plain types have opcodes of their own.
_PLAIN = {
    ("__builtin__", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
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


class _Refused(Exception):
    """The pickle wanted a global that plain data does not need."""


# The C machine sizes its memo by an index in the data, up to 64 GB of memory; the Python one has a dict.
class _PlainUnpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PLAIN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def load_plain(data: bytes, where: str) -> Any:
    """Unpickle containers, strings, numbers, booleans and None; Python 2 strings become latin-1 text.

    Raises:
        InputError: the pickle wants any other global (names ``where`` and the global; nothing of it has
            run), or it is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin-1").load()
    except _Refused as error:
        raise InputError(
            f"{where}: refused, this pickle wants to run {error}; plain data never does: do not trust it"
        ) from error
    except _PICKLE_ERRORS as error:
        raise InputError(f"{where}: not a readable pickle ({type(error).__name__}: {error})") from error
