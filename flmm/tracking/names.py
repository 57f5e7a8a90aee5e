"""Names that MLflow takes, and numbers as the points that it keeps."""

import re
from collections import Counter
from typing import Any

from flmm.files import sha256_of

LONGEST = 200  # characters of a name; a store may take 250, and a name may get a suffix
NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_./ :-]")  # in a metric's or param's name

Point = tuple[int, float]  # step, value


def numbers(values: dict[str, Any]) -> dict[str, list[Point]]:
    """The numbers among nested values, as metrics of one point."""
    return {
        safe(name): [(0, float(value))]
        for name, value in flat(values, "/")
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def flat(values: dict[str, Any], separator: str = ".") -> list[tuple[str, Any]]:
    """Nested values in a row; ``separator`` joins their names."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += [(f"{name}{separator}{below}", deep) for below, deep in flat(value, separator)]
        else:
            found.append((str(name), value))
    return found


def metric_names(places: list[str]) -> list[str]:
    """Names that MLflow takes, in the same order; different places keep different names.

    A category's name may hold anything: signs that MLflow refuses, slashes, or nothing at all.
    """
    names = [safe(place) for place in places]
    shared = {name for name, count in Counter(names).items() if count > 1}
    return [
        f"{name}-{sha256_of(place)[:8]}" if name in shared and name != place else name
        for name, place in zip(names, places, strict=True)
    ]


def safe(name: str) -> str:
    """A name that MLflow takes: a relative path whose every part says something, not too long."""
    parts = [NOT_ALLOWED.sub("_", part).strip() for part in name.split("/")]
    whole = "/".join(f"_{part}" if part.startswith("..") or not part.strip(".") else part for part in parts)
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 9].rstrip('/. ')}-{sha256_of(name)[:8]}"
