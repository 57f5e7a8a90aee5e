"""What `mlflow models serve` runs: a picture and phrases in, masks as COCO run lengths out.

MLflow copies this file beside a head and runs it by name ("models from code"): nothing is pickled.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PythonModel

from flmm.data.images import decode_image
from flmm.data.sample import encode_rle
from flmm.errors import InputError, StepError
from flmm.predictor import Grounded, Grounder


class Masks(PythonModel):
    """A head with its frozen LMM and its segmenter, loaded once per server."""

    def load_context(self, context: Any) -> None:
        """``context``: the head's folder as an artifact; the rest of ``Grounder.load`` as the model's config."""
        self.grounder = Grounder.load(Path(context.artifacts["head"]), **context.model_config)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Per row ``image`` (base64 of a picture's file) and ``phrases``: their masks, boxes and scores.

        Raises:
            MlflowException: a row's picture or phrases cannot be used (names the row); answered with status 400.
        """
        found = []
        for number, row in enumerate(model_input.to_dict("records")):
            try:
                picture = decode_image(_bytes(row["image"]), "image", upright=True)
                found.append(_answer(self.grounder.ground(picture, list(row["phrases"]))))
            except (InputError, StepError) as error:
                raise MlflowException(f"row {number}: {error}", error_code=BAD_REQUEST) from error
        return found


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"image: not the base64 text of a picture's file ({error})") from error


def _answer(found: Grounded) -> dict[str, Any]:
    return {
        "phrases": list(found.phrases),
        "masks": [{"size": list(mask.shape), "counts": encode_rle(mask)} for mask in found.masks],
        "boxes": found.boxes.tolist(),
        "scores": [round(float(score), 4) for score in found.scores],
    }


set_model(Masks())
