"""The section ``train`` of params.yaml: the head's sizes and its training."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from flmm.sections import Dtype, PositiveInt, Section, Workers


class Head(Section):
    """The sizes of the mask head (docs/method.md)."""

    base_channels: PositiveInt
    upsample: PositiveInt


class Train(Section):
    head: Head
    epochs: PositiveInt
    batch_size: PositiveInt
    lr: Annotated[float, Field(gt=0)]
    # A YAML list is a Python list, which strict tuples refuse.
    betas: Annotated[tuple[float, float], Field(strict=False)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_norm: Annotated[float, Field(gt=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    targets: Literal["annotation", "resized"]
    precision: Dtype
    seeds: Annotated[list[int], Field(min_length=1)]
    threads: PositiveInt
    checkpoint_every: PositiveInt
    workers: Workers
    online: bool

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("expected different numbers, 0 or more")
        return seeds

    @model_validator(mode="after")
    def _repeats_read_the_cache(self) -> "Train":
        if self.online and len(self.seeds) > 1:
            raise ValueError(
                "seeds: heads of further seeds are trained from the cache; with online: true give one seed"
            )
        return self

    @field_validator("precision", mode="before")
    @classmethod
    def _has_a_new_name(cls, precision: object) -> object:
        # A `no` that has lost its quotes is False in YAML.
        new = {"no": "float32", "False": "float32", "bf16": "bfloat16", "fp16": "float16"}.get(str(precision))
        if new:
            raise ValueError(f"{'no' if precision is False else precision} is now called {new}")
        return precision
