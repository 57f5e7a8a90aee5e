"""MLflow is rebuilt from result files: nothing twice, nothing lost, and a dead server harms nothing."""

import json
import multiprocessing
import shutil
import socket
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flmm import paths
from flmm.errors import StepError
from flmm.files import write_json, write_text
from flmm.params import Params, load_params
from flmm.tracking import contents
from flmm.tracking.contents import Content, Data
from flmm.tracking.live import LiveCurves
from flmm.tracking.store import Store
from flmm.tracking.track import track, write

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
BACKBONE = "shapes-llava"
CURVES = [{"step": step, "epoch": 0, "loss": 1.0 / step, "lr": 0.1} for step in range(1, 6)]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without an experiment: its fifty migrations take seconds, so they run once."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Params:
    """A project folder whose steps all have results, and a SQLite store in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    params = load_params(PARAMS, backbones=[BACKBONE])
    for name in params.active.sources:
        write_json(
            Path(f"results/shapes/download/{name}.json"), {"url": "file:x", "bytes": 1, "sha256": "a" * 64}
        )
    names = [*paths.grounding_parts(params), *paths.question_parts(params)]
    parts = {name: {"samples": 2, "sha256": "b" * 64} for name in names}
    write_json(paths.samples(params, "any").with_name("summary.json"), {"parts": parts, "overlap": {}})
    counts = {name: {"rows": 3, "answers": 2, "channels": 8} for name in paths.grounding_parts(params)}
    write_json(paths.results(params, BACKBONE, "extract") / "manifest.json", {"key": "k", "parts": counts})
    write_json(Path("results/shapes/embed/manifest.json"), {"images": 4})
    _write_training(params)
    folder = paths.results(params, BACKBONE, "evaluate")
    records = [_record("refcoco+", "unet+sam", "Pr@0.5", 80.0), _record("pope", "none", "accuracy", 0.9)]
    write_json(folder / "metrics.json", records)
    write_text(folder / "res" / "overlays" / "worst-0.png", "picture")
    write_json(Path("reports/metrics.json"), records)
    write_text(Path("reports/index.html"), "page")
    return params


def _record(benchmark: str, head: str, metric: str, value: float) -> dict[str, object]:
    return {
        "suite": "shapes", "backbone": BACKBONE, "head": head, "benchmark": benchmark, "split": "val",
        "protocol": "paper", "metric": metric, "value": value,
    }  # fmt: skip


def _write_training(params: Params, loss: float = 1.0) -> None:
    folder = paths.results(params, BACKBONE, "train")
    lines = [json.dumps(record | {"loss": record["loss"] * loss}) for record in CURVES]
    write_text(folder / "curves.jsonl", "\n".join(lines) + "\n")
    write_json(folder / "summary.json", {"trainable_parameters": 7})
    write_json(folder / "timing.json", {"seconds": 1.5})
    write_text(folder / "head.safetensors", "weights")


def _runs() -> list[Run]:
    store = Store.connect()
    return list(store.client.search_runs([store.experiment]))


def _history(step: str, metric: str) -> list[tuple[int, float]]:
    store = Store.connect()
    (run,) = store.client.search_runs([store.experiment], f"tags.step = '{step}' and tags.current = 'true'")
    return sorted(
        (point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, metric)
    )


def test_a_backbone_has_one_parent_and_one_finished_run_per_step(params: Params) -> None:
    track(params, reports=Path("reports"))
    runs = {run.data.tags["step"]: run for run in _runs()}
    assert set(runs) == {"pipeline", *contents.STEPS}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs.pop("pipeline").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}
    # MLflow refuses + and @ in a name.
    assert runs["evaluate"].data.metrics == {
        "refcoco_/val/paper/unet_sam/Pr_0.5": 80.0,
        "pope/val/paper/none/accuracy": 0.9,
    }
    assert runs["train"].data.params["train.lr"] == str(params.train.lr)
    assert {entry.dataset.name for entry in runs["train"].inputs.dataset_inputs} == {
        "refcoco-train",
        "png-train",
    }


def test_tracking_again_changes_nothing(params: Params) -> None:
    track(params, reports=Path("reports"))
    before = {run.info.run_id: run.info.end_time for run in _runs()}
    record = Path("reports/tracking.json").read_bytes()
    track(params, reports=Path("reports"))
    assert {run.info.run_id: run.info.end_time for run in _runs()} == before
    assert Path("reports/tracking.json").read_bytes() == record


def test_other_params_make_new_runs_and_the_old_ones_are_no_longer_current(params: Params) -> None:
    track(params, reports=Path("reports"))
    first = {run.info.run_id for run in _runs()}
    other = params.model_copy(update={"train": params.train.model_copy(update={"lr": 0.5})})
    track(other, reports=Path("reports"))
    current = {run.info.run_id for run in _runs() if run.data.tags["current"] == "true"}
    assert len(current) == len(first)
    assert current.isdisjoint(first)
    track(params, reports=Path("reports"))
    assert {run.info.run_id for run in _runs() if run.data.tags["current"] == "true"} == first


def test_other_numbers_of_the_same_configuration_replace_its_run(params: Params) -> None:
    track(params, reports=Path("reports"))
    _write_training(params, loss=2.0)
    track(params, reports=Path("reports"))
    assert _history("train", "loss") == [(record["step"], record["loss"] * 2) for record in CURVES]
    assert sum(run.data.tags["step"] == "train" for run in _runs()) == 1


def test_live_curves_are_completed_without_duplicates(params: Params) -> None:
    with LiveCurves(params, BACKBONE) as curves:
        for record in CURVES[:3]:
            curves.add(record)
    assert _history("train", "loss") == [(record["step"], record["loss"]) for record in CURVES[:3]]
    with LiveCurves(
        params, BACKBONE
    ) as curves:  # resumed from a checkpoint before the last step that was sent
        for record in CURVES[1:4]:
            curves.add(record)
    assert _history("train", "loss") == [(record["step"], record["loss"]) for record in CURVES[:4]]
    track(params, reports=Path("reports"))
    assert _history("train", "loss") == [(record["step"], record["loss"]) for record in CURVES]


def test_a_training_that_never_went_on_does_not_stay_running(params: Params) -> None:
    other = params.model_copy(update={"train": params.train.model_copy(update={"lr": 0.5})})
    with LiveCurves(other, BACKBONE) as curves:
        curves.add(CURVES[0])
    track(params, reports=Path("reports"))
    assert {run.info.status for run in _runs() if run.data.tags["current"] == "false"} == {"KILLED"}


def _dead_server() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_dead_server_is_one_clear_error_and_leaves_no_record(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", _dead_server())
    with pytest.raises(StepError, match="does not answer") as caught:
        track(params, reports=Path("reports"))
    assert "\n" not in str(caught.value)
    assert not Path("reports/tracking.json").exists()


def test_a_dead_server_does_not_stop_a_training(
    params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", _dead_server())
    started = time.monotonic()
    with LiveCurves(params, BACKBONE) as curves:
        for record in CURVES:
            curves.add(record)
    assert time.monotonic() - started < 30
    assert [entry.message for entry in caplog.records if entry.message.startswith("no live curves")]


def _connect(_: int) -> str:
    return Store.connect().experiment


def test_several_processes_may_be_the_first(params: Params) -> None:
    Path("mlflow.db").unlink()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_connect, range(3)))) == 1


def test_a_metrics_points_beyond_one_batch_all_arrive(params: Params) -> None:
    points = [(step, float(step)) for step in range(2100)]
    store = Store.connect()
    content = Content(metrics={"loss": points}, data=[Data("d", "0" * 36, "x", "training")])
    write(store, params, BACKBONE, "train", content, parent=None)
    assert _history("train", "loss") == points
