"""What DVC needs to know: the steps' own keys, as files, and that Snakemake's results are current (``flmm record``).

Snakemake needs nothing: every result carries its key (``flmm.pipeline.state``), also one that DVC restored.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from flmm.errors import StepError
from flmm.files import write_json
from flmm.params import Params
from flmm.pipeline.keys import Keys
from flmm.pipeline.outputs import record as record_of
from flmm.pipeline.state import State, rule_of
from flmm.pipeline.step import GENERATE, Step
from flmm.pipeline.steps import Graph

# Steps that one stage of dvc.yaml runs together.
STAGES = {"digest": "download", "import": "train"}
BY_BENCHMARK = frozenset({"evaluate"})
BY_SUITE = ("embed", "rival")  # may be without a step
BY_BACKBONE = ("pilot", "extract", "train", "select", "keywords", "count", "overlays", "repeat")


def write_keys(params: Params) -> None:
    """Write ``results/<suite>/keys/<stage>…json``: per step what its own values and code are.

    Not cumulative: DVC looks at the files that a stage reads by itself.
    """
    keys = Keys(Graph(params))
    folder = Path("results") / params.suite / "keys"
    found: dict[Path, dict[str, Any]] = {}
    for step in keys.graph.results:
        found.setdefault(folder / _file(step), {})[str(step)] = _own(keys, step)
    for stage, backbone in ((stage, name) for stage in BY_BACKBONE for name in params.backbones):
        found.setdefault(
            folder / stage / f"{backbone}.json", {}
        )  # a stage without a step depends on a file, too
    for stage in BY_SUITE:
        found.setdefault(folder / f"{stage}.json", {})
    if params.active.generate is not None:
        found[folder / "download.json"]["generate"] = keys.own(GENERATE)
    for path in set(folder.rglob("*.json")) - set(found):
        path.unlink()
    for path, content in found.items():
        write_json(path, content)
    keys.hashes.save()


def stage_of(step: Step) -> str:
    """The stage of dvc.yaml that runs a step."""
    return STAGES.get(step.name, step.name)


def _file(step: Step) -> Path:
    name = Path(stage_of(step)) / step.backbone if step.backbone else Path(stage_of(step))
    name = name / step.item if step.name in BY_BENCHMARK else name
    return name.with_name(f"{name.name}.json")


def _own(keys: Keys, step: Step) -> Any:
    if step.name != "digest":
        return keys.own(step)
    entry = keys.params.sources[step.item]
    return [entry.url, entry.sha256]


def record(params: Params) -> None:
    """After ``snakemake``: write what is there into dvc.lock.

    Raises:
        StepError: some results are not current, or DVC cannot write (says what it said).
    """
    state = State(params)
    waiting = [step for step in state.graph.results if state.is_stale(step)]
    if waiting:
        raise StepError(f"{len(waiting)} steps have to run, such as `{waiting[0]}`; run `snakemake` first")
    write_keys(params)
    results = Path("results") / params.suite
    for folder in (
        *(results / stage for stage in BY_SUITE),
        *(results / name / stage for name in params.backbones for stage in BY_BACKBONE),
    ):
        folder.mkdir(parents=True, exist_ok=True)  # a stage without a step has an empty folder as its result
    # `dvc commit` would copy the results once more to relink them.
    done = _dvc("commit", "--force", "--no-relink")
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or "it said nothing"
        hint = "" if Path(".git").exists() or _is_in_git() else _NO_GIT
        raise StepError(f"dvc commit failed: {said}{hint}")


_NO_GIT = (
    "; this folder is no git repository (a downloaded archive?): DVC needs one: run `git init`, or use the results "
    "without DVC: they are complete"
)


def _is_in_git() -> bool:
    asked = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False)
    return asked.returncode == 0


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_program("dvc"), *arguments], capture_output=True, text=True, check=False)


# Rules whose files no stage holds: they run where a stage's step needs a file that is missing.
CACHES = ("generate", "download", "embed", "extract", "extract_share")


def run_stage(params: Params, stage: str, backbone: str, benchmark: str) -> None:
    """Let Snakemake make a stage's results: those that are not current, with the rules that may run for them.

    Raises:
        StepError: Snakemake failed (it has said why).
    """
    graph = Graph(params)
    steps = [
        step
        for step in graph.results
        if stage_of(step) == stage and backbone in ("", step.backbone) and benchmark in ("", step.item)
    ]
    if not steps:  # such as pictures where no benchmark has masks: an empty folder is the result
        folder = Path("results") / params.suite / backbone / stage
        folder.mkdir(parents=True, exist_ok=True)
        return
    rules = sorted({*CACHES, *map(rule_of, steps)})
    targets = [str(record_of(graph, step)) for step in steps]
    quiet = ["--quiet", "host", "progress", "rules"]
    command = ["snakemake", "--cores", "all", *quiet, "--allowed-rules", *rules, "--", *targets]
    if subprocess.run([_program(command[0]), *command[1:]], check=False).returncode:
        raise StepError(f"snakemake failed in stage {stage} {backbone} {benchmark}".rstrip())


def _program(name: str) -> str:
    program = Path(sys.executable).parent / name  # of this environment, activated or not
    return str(program) if program.exists() else name
