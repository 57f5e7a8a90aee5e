"""A training's curves while it runs. The curves file is the truth; what the store misses, ``track`` adds later."""

import logging
import time
from types import TracebackType
from typing import Any, Self

from mlflow.entities import Metric

from flmm.errors import StepError
from flmm.params import Params
from flmm.tracking.metrics import step_metrics
from flmm.tracking.results import Results
from flmm.tracking.store import STORE_ERRORS, Store
from flmm.tracking.track import identity

EVERY = 5.0  # seconds between two writes
log = logging.getLogger(__name__)


class LiveCurves:
    """Sends each step's record to the train run; goes silent, with one warning, when the store does not answer."""

    def __init__(self, params: Params, backbone: str) -> None:
        self._params, self._backbone = params, backbone
        self._store: Store | None = None
        self._waiting: list[Metric] = []
        self._sent = time.monotonic()

    def __enter__(self) -> Self:
        try:
            store = Store.connect(timeout=5, retries=0)
            results = Results(self._params, self._backbone)
            key, name, tags = identity(results, "pipeline")
            parent = store.ensure(key, name, tags)
            key, name, tags = identity(results, "train")
            run = store.ensure(key, name, tags, parent.info.run_id)
            self._run = run.info.run_id
            # A resumed training repeats the steps since its last checkpoint.
            history = store.client.get_metric_history(self._run, "loss") if "loss" in run.data.metrics else []
            self._done = max((point.step for point in history), default=0)
            self._store = store
        except (*STORE_ERRORS, StepError) as error:
            self._stop(error)
        return self

    def add(self, record: dict[str, Any]) -> None:
        """Take one step's record (a line of curves.jsonl)."""
        if self._store is None or record["step"] <= self._done:
            return
        now = int(time.time() * 1000)
        self._waiting += [
            Metric(name, value, now, record["step"]) for name, value in step_metrics(record).items()
        ]
        if time.monotonic() - self._sent > EVERY or len(self._waiting) > 900:
            self._send()

    def _send(self) -> None:
        waiting, self._waiting, self._sent = self._waiting, [], time.monotonic()
        if self._store is None or not waiting:
            return
        try:
            self._store.client.log_batch(self._run, metrics=waiting)
        except STORE_ERRORS as error:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        self._store = None
        log.warning("no live curves: %s", error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send()
