"""A real tracking server with PostgreSQL and an artifact store, killed in the middle of a run and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flmm.errors import StepError
from flmm.params import Params
from flmm.tracking.live import LiveCurves
from flmm.tracking.store import Store
from flmm.tracking.track import track
from tests.tracking.servers import POSTGRES, Postgres, TrackingServer
from tests.tracking.test_tracking import BACKBONE, CURVES, _history, _runs, empty_store, params

__all__ = ["empty_store", "params"]  # fixtures
pytest.importorskip("psycopg2", reason="psycopg2 is not installed: make install-test")
pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(
        not POSTGRES, reason="there is no PostgreSQL server (Debian: apt-get install postgresql)"
    ),
]


@pytest.fixture
def server(params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TrackingServer]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    database = Postgres()
    found = TrackingServer(database.uri, tmp_path / "artifacts")
    try:
        found.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.uri)
        yield found
    finally:
        found.kill()
        database.stop()


def test_a_server_that_dies_in_the_middle_is_told_the_rest_when_it_is_back(
    params: Params, server: TrackingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("flmm.tracking.live.EVERY", 0.0)  # every step is sent at once
    with LiveCurves(params, BACKBONE) as curves:
        for record in CURVES[:2]:
            curves.add(record)
        server.kill()
        for record in CURVES[2:]:  # the training goes on
            curves.add(record)
    server.start()
    assert [step for step, _ in _history("train", "loss")] == [1, 2]

    ensured: list[str] = []
    ensure = Store.ensure

    def dying(store: Store, key: str, name: str, *more: Any) -> Any:
        ensured.append(name)
        if len(ensured) == 5:
            server.kill()
        return ensure(store, key, name, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "ensure", dying)
        with pytest.raises(StepError, match="run `flmm track` again"):
            track(params, reports=Path("reports"))
    assert not Path("reports/tracking.json").exists()

    server.start()
    for _ in range(2):  # and once more, which changes nothing
        track(params, reports=Path("reports"))
        assert _history("train", "loss") == [(record["step"], record["loss"]) for record in CURVES]
        runs = _runs()
        assert len(runs) == len({run.data.tags["step"] for run in runs})
        assert {run.info.status for run in runs} == {"FINISHED"}
    (evaluation,) = [run for run in runs if run.data.tags["step"] == "evaluate"]
    artifacts = Store.connect().client.list_artifacts(evaluation.info.run_id, "evaluate/res")
    assert [Path(each.path).name for each in artifacts] == ["predictions.parquet"]
    assert list(
        (tmp_path / "artifacts").rglob("predictions.parquet")
    )  # in the server's store, not in the project
