"""The times per item that `make rehearse` measured on this machine (``rehearsal/times.py``), for `flmm plan`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from flmm.errors import InputError
from flmm.files import read_json
from flmm.pipeline.costs import Speed
from flmm.sections import PositiveInt, Section

FILE = Path("rehearsed/times.json")
PHRASES = 5  # of an answer that is read or trained on, about PNG's mean

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Item(Section):
    """What one item of a step takes, and which item: a token, an image, an answer of five phrases."""

    seconds: Positive
    per: str


class StepTimes(Section):
    """All at the sizes of LLaVA-1.5-7B and SAM ViT-L.

    ``extract`` and ``generate``: a token read or generated; ``write``: a phrase into a shard; ``read``, ``train``: an
    answer out of it, and in a training step; ``embed``: an image; ``evaluate``: a phrase's masks by one head.
    """

    extract: Item
    generate: Item
    write: Item
    embed: Item
    read: Item
    train: Item
    evaluate: Item


class Times(Section):
    """What was measured, where and when; ``parameters``: of the layers of which the times of tokens are."""

    device: str
    cores: PositiveInt  # of the CPU, as many as torch used
    dtype: str
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    versions: dict[str, str]
    parameters: Positive
    steps: StepTimes

    @property
    def speed(self) -> Speed:
        """Seconds of a token per parameter: the work for a token grows as they do."""
        steps = self.steps
        return Speed(steps.extract.seconds / self.parameters, steps.generate.seconds / self.parameters)


def read_times(path: Path = FILE) -> Times | None:
    """The measured times; None where nothing was measured.

    Raises:
        InputError: the file is not what the measuring writes (names the key).
    """
    again = "delete it, or measure anew: python -m rehearsal.times"
    if not path.exists():
        return None
    try:
        return Times.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where + ': ' if where else ''}{first['msg']}"
        raise InputError(f"{path}: {said}; {again}") from error
    except (InputError, OSError) as error:
        raise InputError(f"{error}; {again}") from error
