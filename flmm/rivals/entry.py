"""A rival's entry in params.yaml."""

from pydantic import BaseModel, ConfigDict, model_validator


class Rival(BaseModel):
    """An LMM that was fine-tuned for grounding, beside the frozen backbone that it is compared with.

    ``model``: a directory that `python -m recipes finetune-seg` wrote; or ``predictions``: a folder with one file of
    masks or answers per part, in the layout of `flmm score`: ``<part>.json`` or ``<part>.jsonl``. ``parts``: of which
    it is evaluated, those whose benchmarks run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    frozen: str
    model: str | None
    predictions: str | None
    parts: list[str]

    @model_validator(mode="after")
    def _has_one_of_two(self) -> "Rival":
        if (self.model is None) == (self.predictions is None):
            raise ValueError("a rival has either a `model` or a folder of `predictions`")
        return self

    @property
    def folder(self) -> str:
        """Whichever of the two it has."""
        return self.model or self.predictions or ""
