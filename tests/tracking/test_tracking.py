"""MLflow is rebuilt from result files: nothing twice, nothing lost, and a dead server harms nothing."""

import hashlib
import json
import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.validation import _validate_metric_name

from flmm.errors import StepError
from flmm.files import write_json, write_text
from flmm.heads.names import ATTACHED
from flmm.params import Params, parse_params
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph
from flmm.tracking.contents import Content, Data
from flmm.tracking.durations import measurement
from flmm.tracking.live import LiveCurves
from flmm.tracking.lock import tell_lock
from flmm.tracking.names import metric_names
from flmm.tracking.results import RUNS, SHARED, Results
from flmm.tracking.store import Store
from flmm.tracking.track import track, write
from tests.ports import refusing

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
    raw = yaml.safe_load(PARAMS.read_text())
    raw["backbones"] = [BACKBONE]
    raw["suites"]["shapes"]["rivals"] = {}  # tests/tracking/test_rivals.py
    raw["suites"]["shapes"]["segmenter"]["checkpoint"] = str(PARAMS.parent / "flmm/shapes/models/shapes-sam")
    for entry in raw["suites"]["shapes"]["sources"].values():
        entry["sha256"] = "a" * 64  # so that every key is known, and nothing has to be there
    params = parse_params(raw)
    graph = Graph(params)
    for source in graph.sources:
        write_json(paths.digest(params, source), {"bytes": 1, "sha256": "a" * 64, "origin": None})
    for part in graph.parts:
        write_json(paths.counts(params, part), {"samples": 2, "sha256": "b" * 64})
    for part in graph.extracted_parts(BACKBONE):
        counts = {"key": "k", "rows": 3, "answers": 2, "channels": 8}
        write_json(paths.extract_pointer(params, BACKBONE, part), counts)
    for archive in graph.archives:
        write_json(paths.embed_pointer(params, archive), {"key": "k", "rows": 4})
    _write_training(params)
    records = [_record("refcoco+", "unet+sam", "Pr@0.5", 80.0), _record("pope", "none", "accuracy", 0.9)]
    write_json(paths.metrics(params, BACKBONE), records)
    write_json(paths.selected(params, BACKBONE), {"channels": [1, 2, 3], "phrases": 9})
    write_json(
        paths.keywords(params, BACKBONE) / "scores.json", {"scores": {"rule": {"f1": 60.5}}, "left_out": {}}
    )
    write_text(paths.evaluated(params, BACKBONE, "res") / "predictions.parquet", "table")
    write_text(paths.overlays(params, BACKBONE, "res") / "00-worst.png", "picture")
    write_json(Path("reports/metrics.json"), records)
    write_text(Path("reports/index.html"), "page")
    return params


def _record(benchmark: str, head: str, metric: str, value: float) -> dict[str, object]:
    return {
        "suite": "shapes", "backbone": BACKBONE, "head": head, "benchmark": benchmark, "split": "val",
        "protocol": "paper", "metric": metric, "value": value,
        "low": value * 0.9, "high": value * 1.1, "n": 20, "images": 9,
    }  # fmt: skip


def _write_training(params: Params, loss: float = 1.0) -> None:
    folder = paths.results(params, BACKBONE, "train")
    lines = [json.dumps(record | {"loss": record["loss"] * loss}) for record in CURVES]
    write_text(folder / "curves.jsonl", "\n".join(lines) + "\n")
    write_json(folder / "summary.json", {"trainable_parameters": 7})
    write_json(folder / "timing.json", {"seconds": 1.5})
    write_text(folder / "head.safetensors", "weights")


def test_a_category_called_low_is_no_bound(params: Params) -> None:
    names = ["circular_accuracy", "circular_accuracy/low"]
    values = [0.5, 0.75]
    records = [_record("mmbench", "none", name, value) for name, value in zip(names, values, strict=True)]
    write_json(paths.metrics(params, BACKBONE), records)
    track(params, reports=Path("reports"))
    (run,) = [run for run in _runs() if run.data.tags["step"] == "evaluate"]
    assert run.data.metrics["mmbench/val/paper/none/circular_accuracy/low"] == 0.75


def test_intervals_stand_beside_their_numbers_in_the_evaluation_alone(params: Params) -> None:
    track(params, reports=Path("reports"))
    metrics = {run.data.tags["step"]: run.data.metrics for run in _runs()}
    name = "refcoco_/val/paper/unet_sam/Pr_0.5"
    evaluated = metrics["evaluate"]
    assert (evaluated[f"{name}/low"], evaluated[name], evaluated[f"{name}/high"]) == pytest.approx(
        (72.0, 80.0, 88.0)
    )
    assert name not in metrics["pipeline"]


def test_the_parent_holds_what_backbones_are_compared_by(params: Params) -> None:
    records = [
        _record("refcoco", "unet+sam", "cIoU", 80.0),
        _record("refcoco", "unet", "cIoU", 70.0),
        _record("pope", ATTACHED, "accuracy", 0.9) | {"split": "random", "protocol": "upstream"},
    ]
    write_json(paths.metrics(params, BACKBONE), records)
    track(params, reports=Path("reports"))
    (run,) = [run for run in _runs() if run.data.tags["step"] == "pipeline"]
    assert run.data.metrics == {"headline/RefCOCO val cIoU": 80.0, "headline/POPE random accuracy": 90.0}
    assert run.data.params["model"] == params.catalogue[BACKBONE].model
    assert run.data.params["family"] == "llava"
    client = Store.connect().client
    assert "overlays" in {file.path for file in client.list_artifacts(run.info.run_id)}
    assert "| RefCOCO val cIoU | 80.0 | 72.0 to 88.0 | 20 |" in run.data.tags["mlflow.note.content"]
    experiment = client.get_experiment_by_name("f-lmm")
    note = experiment.tags["mlflow.note.content"]
    assert f"[{BACKBONE}](#/experiments/{experiment.experiment_id}/runs/{run.info.run_id})" in note
    assert "| POPE random accuracy | 90.0 |" in note


def _scores(run: Run) -> dict[str, float]:
    """A run's metrics without the bounds of their intervals."""
    return {name: value for name, value in run.data.metrics.items() if not name.endswith(("/low", "/high"))}


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
    assert set(runs) == {"pipeline", *RUNS} - {"repeat"}  # one seed
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs.pop("pipeline").info.run_id
    assert {step for step, run in runs.items() if run.data.tags.get("mlflow.parentRunId") != parent} == set(
        SHARED
    )
    # MLflow refuses + and @ in a name.
    assert _scores(runs["evaluate"]) == {
        "refcoco_/val/paper/unet_sam/Pr_0.5": 80.0,
        "pope/val/paper/none/accuracy": 0.9,
    }
    assert runs["keywords"].data.metrics == {"keywords/rule/f1": 60.5}
    assert {entry.dataset.name for entry in runs["keywords"].inputs.dataset_inputs} == {
        "png-train",
        "png-val",
    }
    assert runs["train"].data.params["train.lr"] == str(params.train.lr)
    assert {entry.dataset.name for entry in runs["train"].inputs.dataset_inputs} == {
        "refcoco-train",
        "png-train",
    }


def test_the_evaluations_tables_numbers_and_pictures_are_kept_as_they_lie(params: Params) -> None:
    track(params, reports=Path("reports"))
    (run,) = [run for run in _runs() if run.data.tags["step"] == "evaluate"]
    client = Store.connect().client
    kept = {
        file.path
        for folder in ("select", "evaluate/res", "count", "overlays/res")
        for file in client.list_artifacts(run.info.run_id, folder)
    }
    assert kept == {
        "select/heads.json",
        "evaluate/res/predictions.parquet",
        "count/metrics.json",
        "overlays/res/00-worst.png",
    }


def test_a_head_from_elsewhere_is_tracked_with_its_origin_and_without_curves(params: Params) -> None:
    folder = paths.trained(params, BACKBONE)
    for name in ("curves.jsonl", "timing.json"):
        (folder / name).unlink()
    shutil.rmtree(paths.selected(params, BACKBONE).parent)  # nothing to choose the baseline's heads on
    write_json(folder / "summary.json", {"imported": {"file": "https://x.org/head.pth", "sha256": "c" * 64}})
    track(params, reports=Path("reports"))
    runs = {run.data.tags["step"]: run for run in _runs()}
    for step in ("train", "pipeline"):
        assert runs[step].data.params["imported.file"] == "https://x.org/head.pth"
        assert runs[step].data.params["imported.sha256"] == "c" * 64
    assert runs["train"].data.metrics == {}
    assert runs["train"].inputs.dataset_inputs == []


def test_a_category_may_have_any_name(params: Params) -> None:
    names = ["", " ", "/", "a/b", "a//b", "..", "a+b", "a@b", "a_b", "x" * 400, "zählen", "\n", "/etc"]
    categories = [f"circular_accuracy/{name}" for name in names]
    write_json(
        paths.metrics(params, BACKBONE),
        [_record("mmbench", "none", metric, float(number)) for number, metric in enumerate(categories)],
    )
    track(params, reports=Path("reports"))
    (run,) = [run for run in _runs() if run.data.tags["step"] == "evaluate"]
    assert sorted(_scores(run).values()) == list(map(float, range(len(names))))


@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_every_category_becomes_a_name_of_its_own_that_mlflow_takes(categories: list[str]) -> None:
    places = [f"mmbench/dev/upstream/none/circular_accuracy/{category}" for category in categories]
    names = metric_names(places)
    assert len(set(names)) == len(places)
    for name in names:
        _validate_metric_name(name)
        assert len(name) <= 250


@given(st.text(alphabet="abcAB12 ._-", min_size=1, max_size=30).filter(lambda text: text.strip(" .")))
def test_a_harmless_category_keeps_its_name(category: str) -> None:
    place = f"mmbench/dev/upstream/none/circular_accuracy/{category.strip(' .')}"
    assert metric_names([place, "x+y"]) == [place, "x_y"]


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
    assert current & first == {run.info.run_id for run in _runs() if run.data.tags["step"] in SHARED}
    track(params, reports=Path("reports"))
    assert {run.info.run_id for run in _runs() if run.data.tags["current"] == "true"} == first


def test_a_name_says_which_head_a_run_is_of_and_whether_it_is_an_earlier_one(params: Params) -> None:
    def names() -> set[str]:
        return {run.info.run_name for run in _runs() if run.data.tags["step"] == "pipeline"}

    track(params, reports=Path("reports"))
    (first,) = names()
    assert first.startswith(f"{BACKBONE}, trained head ")
    other = params.model_copy(update={"train": params.train.model_copy(update={"lr": 0.5})})
    track(other, reports=Path("reports"))
    (second,) = names() - {f"{first} (earlier)"}
    track(params, reports=Path("reports"))
    assert names() == {first, f"{second} (earlier)"}


def test_a_run_whose_server_died_at_its_end_is_finished_later(params: Params) -> None:
    track(params, reports=Path("reports"))
    client = Store.connect().client
    (run,) = [run for run in _runs() if run.data.tags["step"] == "train"]
    client.update_run(run.info.run_id, status="RUNNING")
    track(params, reports=Path("reports"))
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_training_lasts_as_long_as_it_did(params: Params) -> None:
    track(params, reports=Path("reports"))
    (run,) = [run for run in _runs() if run.data.tags["step"] == "train"]
    assert run.info.end_time - run.info.start_time == pytest.approx(1500, abs=2)


def test_another_benchmark_completes_the_runs_that_are_there(params: Params) -> None:
    listed = params.evaluate.benchmarks
    fewer = params.evaluate.model_copy(update={"benchmarks": listed[:-1]})
    track(params.model_copy(update={"evaluate": fewer}), reports=Path("reports"))
    before = {run.info.run_id for run in _runs() if run.data.tags["step"] not in SHARED}
    track(params, reports=Path("reports"))
    current = [run for run in _runs() if run.data.tags["current"] == "true"]
    assert {run.info.run_id for run in current if run.data.tags["step"] not in SHARED} == before


def test_other_numbers_of_the_same_configuration_replace_its_run(params: Params) -> None:
    track(params, reports=Path("reports"))
    _write_training(params, loss=2.0)
    track(params, reports=Path("reports"))
    assert _history("train", "loss") == [(record["step"], record["loss"] * 2) for record in CURVES]
    assert sum(run.data.tags["step"] == "train" for run in _runs()) == 1


def test_the_runs_of_a_parent_that_was_replaced_follow_it(params: Params) -> None:
    for value in (80.0, 90.0):
        write_json(paths.metrics(params, BACKBONE), [_record("refcoco", "unet+sam", "cIoU", value)])
        track(params, reports=Path("reports"))
    runs = {run.data.tags["step"]: run for run in _runs() if run.data.tags["step"] not in SHARED}
    parent = runs.pop("pipeline").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}


def test_what_all_backbones_share_is_told_once(params: Params) -> None:
    track(params, reports=Path("reports"))
    shared = {run.info.run_id: run for run in _runs() if run.data.tags["step"] in SHARED}
    assert {run.info.run_name for run in shared.values()} == {"shapes prepare", "shapes embed"}
    assert not any("backbone" in run.data.tags for run in shared.values())
    # Another head is another parent; what it shares with the earlier one stays, and stays current.
    track(
        params.model_copy(update={"train": params.train.model_copy(update={"lr": 0.5})}),
        reports=Path("reports"),
    )
    again = {run.info.run_id: run for run in _runs() if run.data.tags["step"] in SHARED}
    assert set(again) == set(shared)
    assert {run.data.tags["current"] for run in again.values()} == {"true"}


def test_what_a_step_took_is_told_and_is_no_reason_to_make_its_run_anew(params: Params) -> None:
    results = Results(params, BACKBONE)
    for step in results.steps("extract"):
        line = "3.5\t900.5\t1.0\t2.0\t3.0"
        write_text(measurement("shapes", step), f"s\tmax_rss\tio_in\tio_out\tcpu_time\n{line}\n")
    track(params, reports=Path("reports"))
    (run,) = [run for run in _runs() if run.data.tags["step"] == "extract"]
    assert run.data.metrics["system/peak_memory_megabytes"] == 900.5
    shutil.rmtree("logs")
    track(params, reports=Path("reports"))
    (again,) = [run for run in _runs() if run.data.tags["step"] == "extract"]
    assert again.info.run_id == run.info.run_id
    assert again.data.metrics == run.data.metrics


def test_the_lock_of_the_results_is_a_tag_of_the_current_runs(params: Params) -> None:
    track(params, reports=Path("reports"))
    Path("dvc.lock").write_text("schema: '2.0'")
    tell_lock(params, Path("dvc.lock"))
    digest = hashlib.sha256(b"schema: '2.0'").hexdigest()
    assert {run.data.tags["dvc_lock"] for run in _runs()} == {digest}


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


@contextmanager
def _hanging_up() -> Iterator[tuple[str, list[object]]]:
    """The address of a server that ends every connection at once, and who came."""
    came: list[object] = []

    class HangUp(BaseRequestHandler):
        def handle(self) -> None:
            came.append(self.client_address)

    with TCPServer(("127.0.0.1", 0), HangUp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()


def test_a_dead_server_is_one_clear_error_and_leaves_no_record(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing() as address, pytest.raises(StepError, match="does not answer") as caught:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        track(params, reports=Path("reports"))
    assert "\n" not in str(caught.value)
    assert not Path("reports/tracking.json").exists()


def test_a_dead_server_does_not_stop_a_training(
    params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with _hanging_up() as (address, came):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with LiveCurves(params, BACKBONE) as curves:
            for record in CURVES:
                curves.add(record)
    assert len(came) == 1  # it is not asked again and again
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
    write(store, Results(params, BACKBONE), "train", content, parent=None)
    assert _history("train", "loss") == points
