"""Which MLflow store is told, known without importing MLflow."""

import os
from pathlib import Path

from flmm.pipeline.experiment import project_of_copy

DEFAULT_URI = "sqlite:///mlflow.db"


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or a SQLite file in the project; in DVC's copy of a project that of the project."""
    project = project_of_copy(Path.cwd())
    default = DEFAULT_URI if project is None else f"sqlite:///{project / 'mlflow.db'}"
    return os.environ.get("MLFLOW_TRACKING_URI") or default


def is_the_project_s() -> bool:
    """Whether the results here are the project's present ones, and not those of an experiment in DVC's copy of it."""
    return project_of_copy(Path.cwd()) is None
