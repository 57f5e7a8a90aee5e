"""Heads as models of MLflow's registry: one per backbone; its alias ``current`` is the head of these results."""

import base64
import io
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException, RestException
from PIL import Image, ImageDraw

from flmm.params import Params
from flmm.pipeline import paths
from flmm.tracking.store import Store

ALIAS = "current"
FOLDER = "model"  # among the artifacts of the run that made the head
# What the served model imports; the rest comes with them.
PACKAGES = ("mlflow", "torch", "transformers", "segment-anything", "pycocotools", "pillow", "safetensors")


def register(store: Store, params: Params, backbone: str, run: Run) -> None:
    """Register the head of a ``train`` run, if it is not registered yet, and let ``current`` mean it.

    Raises:
        STORE_ERRORS: the store does not answer.
    """
    client, run_id = store.client, run.info.run_id
    found = client.search_model_versions(f"name = '{backbone}' and run_id = '{run_id}'")
    if found:
        newest = found[0]
    else:
        with tempfile.TemporaryDirectory() as folder:
            save(params, backbone, Path(folder) / FOLDER)
            client.log_artifacts(run_id, str(Path(folder) / FOLDER), FOLDER)
        _make_sure_of(client, params, backbone)
        source = f"{run.info.artifact_uri}/{FOLDER}"
        newest = client.create_model_version(backbone, source, run_id, description=_card(params, backbone))
    client.set_registered_model_alias(backbone, ALIAS, newest.version)


def save(params: Params, backbone: str, folder: Path) -> None:
    """Write a model that `mlflow models serve` takes to ``folder``; the LMM and the segmenter stay where they are."""
    import mlflow

    # MLflow would load the model here, weights and all, only to see which environment variables it reads.
    os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")
    entry, segmenter = params.catalogue[backbone], params.active.segmenter.checkpoint
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(Path(__file__).with_name("served.py")),
        artifacts={"head": str(paths.trained(params, backbone))},
        model_config={
            "model": _place(entry.model),
            "family": entry.family,
            "revision": entry.revision,
            "trust_remote_code": entry.trust_remote_code,
            "segmenter": _place(
                str(paths.raw(params) / segmenter) if segmenter in params.sources else segmenter
            ),
            "dtype": params.extract.dtype,
        },
        signature=signature(),
        input_example=example(),
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
    )
    (folder / "README.md").write_text(_card(params, backbone), encoding="utf-8")


def signature() -> Any:
    """Rows of ``image``, base64 of a picture's file, and ``phrases``; answers: masks as run lengths, boxes, scores."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

    asked = Schema([ColSpec(DataType.string, "image"), ColSpec(Array(DataType.string), "phrases")])
    return ModelSignature(asked, Schema([ColSpec(AnyType())]))


def example() -> Any:
    """A request of one row, as a table: a red circle on grey, and the words for it."""
    import pandas as pd

    picture, file = Image.new("RGB", (96, 72), (150, 150, 150)), io.BytesIO()
    ImageDraw.Draw(picture).ellipse((20, 16, 60, 56), fill=(214, 40, 40))
    picture.save(file, "PNG")
    return pd.DataFrame(
        {"image": [base64.b64encode(file.getvalue()).decode("ascii")], "phrases": [["the red circle"]]}
    )


def _make_sure_of(client: Any, params: Params, backbone: str) -> None:
    try:
        client.create_registered_model(backbone, description=_card(params, backbone))
    except (MlflowException, RestException) as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _place(name: str) -> str:
    """A path that holds from everywhere; a hub's name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _card(params: Params, backbone: str) -> str:
    entry = params.catalogue[backbone]
    return f"""# {backbone}: a mask head on a frozen LMM

Made by the step `train` (or `import`) of the suite `{params.suite}`. The LMM is `{entry.model}`
(family `{entry.family}`), whose weights and answers stay as they are; the segmenter is
`{params.active.segmenter.name}`.

Input, one row per picture: `image`, the base64 text of a picture's file, and `phrases`, a list of texts
such as "the red circle". Output, per row: `phrases`, `masks` (COCO run lengths), `boxes` (x0, y0, x1, y1,
the last two exclusive) and `scores` (the mean probability inside each mask, 0.5 to 1).

    MLFLOW_TRACKING_URI=sqlite:///mlflow.db mlflow models serve -m models:/{backbone}@{ALIAS} --env-manager local
    curl http://127.0.0.1:5000/invocations -H 'Content-Type: application/json' -d @request.json

with `request.json` such as

    {{"dataframe_records": [{{"image": "<base64>", "phrases": ["the red circle"]}}]}}

The figures of this head are on the run that made it and in the report beside it.
"""
