"""Families by name: a file ``flmm/backbones/<family>.py`` with a class under ``@register("<family>")``."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import TypeVar

from flmm.backbones.lmm import TransformersBackbone
from flmm.errors import InputError

Family = TypeVar("Family", bound=TransformersBackbone)
_FAMILIES: dict[str, type[TransformersBackbone]] = {}
_PACKAGE = "flmm.backbones"


def register(name: str) -> Callable[[type[Family]], type[Family]]:
    """Make a class the family ``name``."""

    def remember(family: type[Family]) -> type[Family]:
        _FAMILIES[name] = family
        return family

    return remember


def families() -> list[str]:
    """Every family that this project has a file for."""
    for module in pkgutil.iter_modules(importlib.import_module(_PACKAGE).__path__):
        importlib.import_module(f"{_PACKAGE}.{module.name}")
    return sorted(_FAMILIES)


def family(name: str) -> type[TransformersBackbone]:
    """The class of a family; only its own file is imported.

    Raises:
        InputError: no such family (lists those there are).
    """
    if name.isidentifier() and importlib.util.find_spec(f"{_PACKAGE}.{name}") is not None:
        importlib.import_module(f"{_PACKAGE}.{name}")
    if name not in _FAMILIES:
        raise InputError(f"unknown backbone family {name!r}; known: {', '.join(families())}")
    return _FAMILIES[name]
