"""Sections of params.yaml of which every suite has some values of its own, put together before they are checked."""

from pathlib import Path
from typing import Any

from flmm.errors import InputError

BY_SUITE = ("extract", "train", "keywords")


def with_values_of_the_suite(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Each section with the values that only the active suite has.

    Raises:
        InputError: a value stands in the section and in a suite, so that one of the two would have no effect.
    """
    suites = raw.get("suites")
    merged = dict(raw)
    for section in BY_SUITE:
        common = raw.get(section)
        for name, suite in suites.items() if isinstance(suites, dict) else ():
            own = suite.get(section) if isinstance(suite, dict) else None
            if not isinstance(own, dict) or not isinstance(common, dict):
                continue
            if twice := sorted(set(common) & set(own)):
                raise InputError(
                    f"{path}: {section}.{twice[0]} is also in suites.{name}.{section}; a value has one place: "
                    "delete one of the two"
                )
            if name == raw.get("suite"):
                merged[section] = {**common, **own}
    return merged
