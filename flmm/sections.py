"""What every section of ``params.yaml`` is made of, and those of the visual chain of thought."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["float32", "bfloat16", "float16"]


def _all_or_some(value: object) -> object:
    if value == "all" or (type(value) is int and value > 0):
        return value
    raise ValueError("expected all, or how many")


def _auto_or_some(value: object) -> object:
    if value == "auto" or (type(value) is int and value >= 0):
        return value
    raise ValueError("expected auto, or how many processes, 0 for none")


AllOrSome = Annotated[int | Literal["all"], BeforeValidator(_all_or_some)]
Workers = Annotated[int | Literal["auto"], BeforeValidator(_auto_or_some)]


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Judge(Section):
    """A language model behind an OpenAI-compatible endpoint, such as https://example.org/v1, that grades answers."""

    url: Annotated[str, Field(pattern="^https?://")]
    model: str


class Thoughts(Section):
    """The visual chain of thought: how many questions of each part get it, and how it looks.

    ``questions``: drawn by the seed; 0 for none, empty for all. ``margin``: by which a box grows on each side before it
    is cropped, as a share of its width and height.
    """

    questions: Annotated[int, Field(ge=0)] | None
    margin: Annotated[float, Field(ge=0)]
    judge: Judge | None
