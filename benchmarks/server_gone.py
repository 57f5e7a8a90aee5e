"""MLflow's server killed in the middle of a run and back later: does it hold the same in the end?"""

import contextlib
import time
from collections.abc import Iterator
from random import Random
from typing import Any

from mlflow import MlflowClient

from benchmarks.disturbances import EQUAL, LOST, PIPELINE, Outcome, words
from benchmarks.disturbed import FROM_ATTENTION_ON, Disturbed
from flmm.tracking.durations import SYSTEM
from flmm.tracking.store import EXPERIMENT
from tests.tracking.servers import TrackingServer

GONE = 20  # seconds, and those that the server needs to start
TIMES = (SYSTEM, "seconds")  # what metrics begin with that are another each time
Told = dict[str, Any]
_undisturbed: list[tuple[float, Told]] = []


def server_gone(bench: Disturbed, number: int, chance: Random) -> Outcome:
    """A server with a database of its own is killed at a random moment of a run that tells it."""
    seconds, expected = _expected(bench)
    bench.reset(*FROM_ATTENTION_ON)
    with _server(bench, f"server-{number}") as server:
        running = bench.start(PIPELINE)
        time.sleep(chance.uniform(0.3, 1) * seconds)  # before that nobody talks to it
        server.kill()
        time.sleep(GONE)
        server.start()
        code, said = running.end()
        if code and not words(said):
            return Outcome(LOST, f"no sentence: {said[-300:]}")
        again, more = bench.again(PIPELINE)
        if again:
            return Outcome(LOST, f"the rerun ended with {again}: {words(more) or more[-300:]}")
        bench.count_litter()
        told = _told(server.uri)
    if bench.differing() or told != expected:
        steps = [step for step in {*told, *expected} if told.get(step) != expected.get(step)]
        return Outcome(LOST, f"other files: {bench.differing()}; other runs: {sorted(steps)}")
    return Outcome(EQUAL, words(said) if code else "")


def _expected(bench: Disturbed) -> tuple[float, Told]:
    """How long a run that tells a server takes, and what that server holds afterwards; measured once."""
    if not _undisturbed:
        bench.reset(*FROM_ATTENTION_ON)
        with _server(bench, "server") as server:
            started = time.monotonic()
            code, said = bench.run(PIPELINE)
            assert code == 0, said
            _undisturbed.append((time.monotonic() - started, _told(server.uri)))
    return _undisturbed[0]


@contextlib.contextmanager
def _server(bench: Disturbed, name: str) -> Iterator[TrackingServer]:
    """A server over SQLite that the project's commands tell."""
    server = TrackingServer(f"sqlite:///{bench.work / name}.db", bench.work / f"{name}-artifacts")
    environment = bench.environment
    try:
        server.start()
        bench.environment = {**environment, "MLFLOW_TRACKING_URI": server.uri}
        yield server
    finally:
        bench.environment = environment
        server.kill()


def _told(uri: str) -> Told:
    """Per current run its step, status and metrics but for times, and the whole curve of the loss."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found: Told = {}
    for run in client.search_runs([experiment.experiment_id], "tags.current = 'true'"):
        counted = run.data.metrics.items()
        metrics = {name: value for name, value in counted if not name.startswith(TIMES)}
        history = client.get_metric_history(run.info.run_id, "loss") if "loss" in metrics else []
        curve = sorted((point.step, point.value) for point in history)
        # A step is there once for a backbone, or for all: twice would be a defect, which the list shows.
        found.setdefault(run.data.tags["step"], []).append((run.info.status, metrics, curve))
    return found
