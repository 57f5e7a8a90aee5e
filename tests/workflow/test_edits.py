"""One call runs exactly the steps that an edit touches; the next one finds nothing to do; DVC sees the same."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.conftest import Project, copy_project, quick
from tests.workflow.edits import EDITS, Edit

pytestmark = pytest.mark.pipeline

BENCHMARKS = ["res", "png", "reasonseg", "pope"]
STAGES = {"digest": "download", "generate": "download", "import_head": "train"}
EDITED = ("params.yaml", "flmm", "results", "reports", "data", "cache", ".snakemake", "elsewhere")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with quick(copy_project(tmp_path_factory.mktemp("finished"))) as project:
        project.set("evaluate", "benchmarks", value=BENCHMARKS)
        project.run("snakemake", "--cores", "2")
        project.run("flmm", "record")
        yield project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Iterator[Project]:
    """The finished project, as it was before any edit: what an edit may touch is put back."""
    kept = tmp_path / "kept"
    for name in EDITED:
        if (finished.folder / name).exists():
            _copy(finished.folder / name, kept / name)
    yield finished
    for name in EDITED:
        shutil.rmtree(finished.folder / name, ignore_errors=True)
        (finished.folder / name).unlink(missing_ok=True)
        if (kept / name).exists():
            _copy(kept / name, finished.folder / name)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def planned(project: Project) -> Counter[str]:
    said = project.run("snakemake", "--dry-run", "--quiet", "host")
    jobs = re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)
    return Counter({rule: int(count) for rule, count in jobs if rule not in ("total", "all")})


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_plans_exactly_the_steps_that_it_touches(project: Project, edit: Edit) -> None:
    edit.apply(project)
    found = planned(project)
    assert set(found) == edit.rules
    assert {rule: found[rule] for rule in edit.jobs} == edit.jobs


@pytest.mark.parametrize(
    "name", ["nothing", "title", "workers", "code of a metric", "a comment in a reader", "draws"]
)
def test_dvc_sees_the_stages_of_the_same_steps(project: Project, name: str) -> None:
    edit = next(edit for edit in EDITS if edit.name == name)
    edit.apply(project)
    project.run("flmm", "keys")
    said = project.run("dvc", "status", "--json")
    changed = {stage.partition("@")[0] for stage in json.loads(said[said.index("{") :])} - {"keys"}
    assert changed <= {STAGES.get(rule, rule) for rule in edit.rules}
    assert bool(changed) == bool(edit.rules)


@pytest.mark.parametrize("name", ["a benchmark less", "longest answer", "predictions"])
def test_one_call_does_it_and_the_next_finds_nothing(project: Project, name: str) -> None:
    edit = next(edit for edit in EDITS if edit.name == name)
    edit.apply(project)
    project.run("snakemake", "--cores", "2")
    assert not planned(project)
    project.run("flmm", "record")
    assert project.run("dvc", "status").splitlines()[-1] == "Data and pipelines are up to date."
