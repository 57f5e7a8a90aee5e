"""The MLflow server or SQLite file: connecting, and runs that are found by their key instead of made twice."""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from flmm.errors import StepError, first_line
from flmm.git import checked_out
from flmm.tracking.uri import tracking_uri

EXPERIMENT = "f-lmm"
PAGE = 1000

# What a client raises when its store does not answer or refuses.
STORE_ERRORS = (MlflowException, RequestException, SQLAlchemyError, OSError)


class Store:
    """One experiment of one MLflow store.

    Raises:
        StepError: the store does not answer (only from ``connect``; other calls raise ``STORE_ERRORS``).
    """

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self.client = client
        self.experiment = experiment

    @classmethod
    def connect(cls, *, timeout: int = 30, retries: int = 2) -> "Store":
        """Open the store and its experiment; makes both where they are not there yet.

        ``timeout`` (seconds) and ``retries`` are those of one request to a server.
        """
        # MLflow's own patience with a dead server is several minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
        for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
            logging.getLogger(name).setLevel(logging.WARNING)
        uri = tracking_uri()
        try:
            with _created_once(uri):
                client = MlflowClient(uri, uri)  # runs and registered models in one place
                return cls(client, _experiment(client, uri))
        except STORE_ERRORS as error:
            raise StepError(
                f"MLflow at {uri} does not answer ({first_line(error)[:200]}); the result files are complete: "
                "start it or unset MLFLOW_TRACKING_URI, then run the step again"
            ) from error

    def find(self, key: str) -> Run | None:
        """The run of this key, or None."""
        found = self.client.search_runs([self.experiment], f"tags.run_key = '{key}'", max_results=1)
        return found[0] if found else None

    def ensure(
        self,
        key: str,
        name: str,
        tags: dict[str, str],
        parent: str | None = None,
        seconds: float | None = None,
    ) -> Run:
        """The run of this key, made where it is not there yet; ``parent`` is a run id.

        ``seconds``: how long ago a run that is made now began; None: it begins now.
        """
        run = self.find(key)
        if run is not None:
            return run
        if parent:
            tags = {**tags, MLFLOW_PARENT_RUN_ID: parent}
        tags = {**tags, "run_key": key, MLFLOW_GIT_COMMIT: _commit_tag(), "mlflow.source.name": "flmm"}
        begun = None if seconds is None else int(1000 * (time.time() - seconds))
        return self.client.create_run(self.experiment, begun, tags, name)

    def current(self, suite: str) -> Iterator[Run]:
        """Every run of a suite that is tagged as current."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                f"tags.current = 'true' and tags.suite = '{suite}'",
                max_results=PAGE,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return


@contextlib.contextmanager
def _created_once(uri: str) -> Iterator[None]:
    """Let one process at a time create a SQLite store: two at once break each other's migrations."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not path.parent.is_dir():
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client: MlflowClient, uri: str) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlruns").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))


def _commit_tag() -> str:
    """The commit that is checked out, ``-dirty`` with uncommitted changes, or ``unknown`` outside a repository."""
    commit = checked_out()
    if commit is None:
        return "unknown"
    return f"{commit.digits}{'-dirty' if commit.modified else ''}"
