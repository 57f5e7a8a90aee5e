"""What every section of ``params.yaml`` is made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["float32", "bfloat16", "float16"]


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _all_or_some(value: object) -> object:
    if value == "all" or (type(value) is int and value > 0):
        return value
    raise ValueError("expected all, or how many")


AllOrSome = Annotated[int | Literal["all"], BeforeValidator(_all_or_some)]
