"""The datasets of params.yaml: which module of ``flmm/data`` reads one, which upstream files a part is made from.

A reader is a module with ``files(name, dataset, split)`` and either ``open_reader(raw, name, dataset)``, for masks, or
``read(raw, name, split)``, for questions without masks.
"""

import importlib
import importlib.util
from types import ModuleType

from flmm.data.readers import Files
from flmm.errors import InputError
from flmm.params import Dataset

PACKAGE = "flmm.data"


def reader(name: str) -> ModuleType:
    """The module that reads a kind of dataset; only this one is imported.

    Raises:
        InputError: there is no such reader.
    """
    found = importlib.import_module(module_name(name)) if _exists(name) else None
    if found is None or not hasattr(found, "files"):
        raise InputError(f"params.yaml: unknown reader {name!r}: there is no flmm/data/{name}.py that reads a dataset")
    return found


def module_name(reader_name: str) -> str:
    """The module of a reader."""
    return f"{PACKAGE}.{reader_name}"


def files(name: str, dataset: Dataset, split: str) -> Files:
    """The upstream files of one part.

    Raises:
        InputError: unknown reader, or a split that it does not know.
    """
    found: Files = reader(dataset.reader).files(name, dataset, split)
    return found


def _exists(name: str) -> bool:
    return name.isidentifier() and importlib.util.find_spec(module_name(name)) is not None
