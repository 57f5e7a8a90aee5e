"""Upstream records, checked once at the edge: what is missing or wrong is named with its file and place."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from flmm.errors import InputError

T = TypeVar("T")

# Ids are int64 columns later; upstream writes some of them as strings (PNG), which pydantic reads as numbers.
Id = Annotated[int, Field(ge=0, lt=1 << 63)]
Side = Annotated[
    int, Field(gt=0, le=10_000)
]  # pixels; COCO's largest is 640, the limit keeps masks in memory


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """COCO ``images[]``: sizes in pixels."""

    id: Id
    file_name: str
    height: Side
    width: Side


@dataclass(frozen=True, slots=True)
class CategoryRecord:
    """COCO ``categories[]``; instance files have no ``isthing``: everything in them is a thing."""

    id: Id
    name: str
    isthing: bool = True


def parse_json(adapter: TypeAdapter[T], data: bytes, where: str) -> T:
    """JSON bytes as checked records; keys that nobody reads are passed over.

    Raises:
        InputError: not JSON, or a record lacks a key or has a wrong type (names ``where`` and the place).
    """
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        raise InputError(f"{where}: {_first(error)}") from error


def parse_python(adapter: TypeAdapter[T], value: Any, where: str) -> T:
    """The same for an already parsed value.

    Raises:
        InputError: see ``parse_json``.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InputError(f"{where}: {_first(error)}") from error


def index(records: list[T], what: str, where: str, key: str = "id") -> dict[int, T]:
    """Records by an id that must be unique.

    Raises:
        InputError: an id occurs twice (names it).
    """
    found: dict[int, T] = {}
    for record in records:
        number: int = getattr(record, key)
        if number in found:
            raise InputError(f"{where}: {what} {number} occurs twice")
        found[number] = record
    return found


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    given = "" if first["type"] in {"missing", "json_invalid"} else f", got {str(first['input'])[:80]!r}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place + ': ' if place else ''}{first['msg']}{given}{more}"
