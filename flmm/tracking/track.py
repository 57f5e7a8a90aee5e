"""Bring MLflow to what the result files say: idempotent, so a dead server or a deleted store loses nothing."""

import os
import time
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from flmm.errors import StepError
from flmm.files import write_json
from flmm.params import Params
from flmm.tracking import contents, descriptions
from flmm.tracking.contents import Content, Data
from flmm.tracking.durations import SYSTEM
from flmm.tracking.links import write_links
from flmm.tracking.models import register
from flmm.tracking.names import Point
from flmm.tracking.results import RUNS, SHARED, Results
from flmm.tracking.rivals import runs as fine_tuned
from flmm.tracking.store import STORE_ERRORS, Store
from flmm.tracking.uri import is_the_project_s, tracking_uri

BATCH = 1000  # metrics that MLflow takes at once
PARAM_BATCH = 100
EARLIER = " (earlier)"  # at the end of a run's name: it is of other parameters than the present ones


def track(params: Params, *, reports: Path) -> None:
    """Write the runs, ``tracking.json`` with their ids, and ``runs.html`` with links to them.

    One parent run per backbone with one child per step, one run per step that all backbones share, one per rival.

    Runs of other configurations of the suite stay, tagged ``current=false``; so are those of an experiment that DVC
    runs in a copy of the project.

    Raises:
        InputError: a result file is missing or damaged.
        StepError: the store does not answer.
    """
    store = Store.connect()
    results = {backbone: Results(params, backbone) for backbone in params.backbones}
    try:
        shared = _shared(store, results[params.backbones[0]])
        runs = {backbone: _backbone(store, each, reports) for backbone, each in results.items()}
        rivals = {
            name: _write(store, key, name, {**tags, **_told_by()}, content)
            for key, name, tags, content in fine_tuned(params)
        }
        if is_the_project_s():
            note = descriptions.of_experiment(params, store.experiment, runs)
            store.client.set_experiment_tag(store.experiment, descriptions.TAG, note)
            present = {run for entry in (shared, rivals, *runs.values()) for run in entry.values()}
            _retire(store, params.suite, present)
    except STORE_ERRORS as error:
        raise StepError(
            f"MLflow at {tracking_uri()} failed ({error}); the result files are complete, run `flmm track` again"
        ) from error
    pipelines = {backbone: each.identity for backbone, each in results.items()}
    record = {
        "uri": tracking_uri(),
        "experiment": store.experiment,
        "pipelines": pipelines,
        "runs": runs,
        "shared": shared,
        "rivals": rivals,
    }
    groups = {**runs, "All backbones": shared, "Fine-tuned": rivals}
    write_links(tracking_uri(), store.experiment, groups, reports)
    write_json(reports / "tracking.json", record)


def _retire(store: Store, suite: str, present: set[str]) -> None:
    """Say of every other run that it is no longer current."""
    for run in store.current(suite):
        if run.info.run_id not in present:
            store.client.set_tag(run.info.run_id, "current", "false")
            if run.info.status == "RUNNING":  # a training that was killed and never went on
                store.client.set_terminated(run.info.run_id, "KILLED")
            store.client.update_run(
                run.info.run_id, name=f"{run.info.run_name.removesuffix(EARLIER)}{EARLIER}"
            )


def _shared(store: Store, results: Results) -> dict[str, str]:
    found = {}
    for step in SHARED:
        if results.steps(step):
            tags = {"suite": results.params.suite, "step": step, **_told_by()}
            key = f"{results.shared_identity(step)}-{step}"
            found[step] = _write(store, key, results.name(step), tags, contents.child(results, step))
    return found


def _backbone(store: Store, results: Results, reports: Path) -> dict[str, str]:
    parent = write(store, results, "pipeline", contents.parent(results, reports), parent=None)
    runs = {"pipeline": parent}
    for step in RUNS:
        if step in SHARED or (step in ("keywords", "repeat") and not results.steps(step)):
            continue  # no narrative to fit it on, no further seed
        runs[step] = write(store, results, step, contents.child(results, step), parent=parent)
    if is_the_project_s():  # a copy's paths would lead nowhere
        register(store, results.params, results.backbone, store.client.get_run(runs["train"]))
    return runs


def identity(results: Results, step: str) -> tuple[str, str, dict[str, str]]:
    """The key, the name and the tags of a run; ``step`` is ``pipeline`` for a backbone's parent run."""
    pipeline = results.identity
    tags = {
        "suite": results.params.suite,
        "backbone": results.backbone,
        "step": step,
        "pipeline_key": pipeline,
        **_told_by(),
    }
    return f"{pipeline}-{step}", results.name(step), tags


def write(store: Store, results: Results, step: str, content: Content, *, parent: str | None) -> str:
    """Make or complete one run of a backbone and return its id."""
    return _write(store, *identity(results, step), content, parent=parent)


def _write(
    store: Store, key: str, name: str, tags: dict[str, str], content: Content, *, parent: str | None = None
) -> str:
    """Make or complete one run and return its id; a run that already holds this content is only tagged and named."""
    run = store.ensure(key, name, tags, parent, content.seconds)
    digest = content.digest()
    complete = run.data.tags.get("content") == digest
    if not complete:
        if not _extends(store, run, content):
            # The same configuration gave other numbers (a GPU need not repeat itself): the old run is no longer true.
            store.client.delete_run(run.info.run_id)
            run = store.ensure(key, name, tags, parent, content.seconds)
        _fill(store, run, content)
        told = {"content": digest, "current": _current(), descriptions.TAG: content.note}
        store.client.log_batch(run.info.run_id, tags=[RunTag(*tag) for tag in told.items()])
    elif is_the_project_s() and run.data.tags.get("current") != "true":
        store.client.set_tag(run.info.run_id, "current", "true")
    if not complete or run.info.status != "FINISHED":  # a server may have died between the two
        store.client.set_terminated(run.info.run_id, "FINISHED", _end(run, content))
    if parent and run.data.tags.get(MLFLOW_PARENT_RUN_ID) != parent:  # the one that it had was replaced
        store.client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent)
    if is_the_project_s() and run.info.run_name != name:
        store.client.update_run(run.info.run_id, name=name)
    return str(run.info.run_id)


def _end(run: Run, content: Content) -> int | None:
    """When the step ended, in milliseconds; None, which is now, where nothing has recorded how long it took."""
    return None if content.seconds is None else int(run.info.start_time + 1000 * content.seconds)


def _told_by() -> dict[str, str]:
    """Tags that say whether a run is of the present results, and of which experiment of DVC."""
    experiment = os.environ.get("DVC_EXP_NAME")
    return {"current": _current(), **({"dvc_experiment": experiment} if experiment else {})}


def _current() -> str:
    return str(is_the_project_s()).lower()


def _extends(store: Store, run: Run, content: Content) -> bool:
    """Whether everything that the run holds is also in the content."""
    if any(content.params.get(name) != value for name, value in run.data.params.items()):
        return False
    return all(
        history <= set(content.metrics.get(name, []))
        for name, history in _histories(store, run).items()
        if not name.startswith(SYSTEM)  # as it was measured when the run was written
    )


def _histories(store: Store, run: Run) -> dict[str, set[Point]]:
    return {
        name: {(point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    }


def _fill(store: Store, run: Run, content: Content) -> None:
    run_id, now = run.info.run_id, int(time.time() * 1000)
    missing = [Param(name, value) for name, value in content.params.items() if name not in run.data.params]
    for start in range(0, len(missing), PARAM_BATCH):
        store.client.log_batch(run_id, params=missing[start : start + PARAM_BATCH])
    known = _histories(store, run)
    points = [
        Metric(name, value, now, step)
        for name, wanted in content.metrics.items()
        for step, value in wanted
        if (step, value) not in known.get(name, set())
    ]
    points += [Metric(name, value, now, 0) for name, value in content.system.items() if name not in known]
    for start in range(0, len(points), BATCH):
        store.client.log_batch(run_id, metrics=points[start : start + BATCH])
    store.client.log_inputs(run_id, datasets=[_dataset(entry) for entry in content.data])
    for path in content.artifacts:
        if path.is_dir():
            store.client.log_artifacts(run_id, str(path), path.name)
        else:
            store.client.log_artifact(run_id, str(path))


def _dataset(entry: Data) -> DatasetInput:
    kind = "http" if entry.source.startswith("http") else "local"
    dataset = Dataset(entry.name, entry.digest, kind, f'{{"uri": "{entry.source}"}}')
    return DatasetInput(dataset, [InputTag("mlflow.data.context", entry.context)])
