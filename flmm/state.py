"""Keep DVC's and Snakemake's books in step: ``flmm record`` and ``flmm adopt`` (docs/workflow.md).

``record``: Snakemake is right (after ``snakemake``), tell DVC. ``adopt``: DVC is right (after ``dvc pull``,
``dvc checkout`` or a result from its run cache), tell Snakemake. Each first checks that its side is whole.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from flmm import paths
from flmm.errors import InputError, StepError
from flmm.files import read_json
from flmm.params import Params
from flmm.tracking.contents import pipeline_key


def record() -> None:
    """Write what Snakemake made into dvc.lock.

    Raises:
        StepError: Snakemake has work left or lacks the history of some results, or DVC cannot write.
    """
    state = _run("snakemake", "--dry-run", "--quiet", "host")
    said = state.stdout + state.stderr
    if state.returncode:
        raise StepError(f"snakemake --dry-run failed: {said.strip()}")
    if "missing provenance" in said:
        raise StepError(
            "Snakemake does not know how some results were made; on results that DVC restored run `flmm adopt`, "
            "else `dvc repro`"
        )
    if "Nothing to be done" not in said:
        raise StepError("Snakemake has work left; run `snakemake --cores all` first")
    # `dvc commit` relinks the results by default, which makes them look new to Snakemake.
    done = _run("dvc", "commit", "--force", "--no-relink", "--quiet")
    if done.returncode:
        raise StepError(f"dvc commit failed: {(done.stderr or done.stdout).strip()}")


def adopt(params: Params) -> None:
    """Let Snakemake take the present results as made by the present params and code.

    Archives and mirrored files that are not those of the recorded digests are deleted: DVC does not version them, so
    they may be of other params; they are made again when a step needs them.

    Raises:
        StepError: DVC does not have all results in their recorded state.
    """
    # Inside `dvc repro` DVC has just checked, and `dvc status` would wait for its lock.
    if "DVC_STAGE" not in os.environ and _run("dvc", "status", "--quiet").returncode:
        raise StepError("`dvc status` is not clean: run `dvc repro` (or `dvc pull`) instead")
    drop_other_archives(params)
    drop_other_tracking(params)
    touched = _run(sys.executable, "-m", "flmm.touch")
    if touched.returncode:
        raise StepError(f"snakemake --touch failed: {(touched.stderr or touched.stdout).strip()}")


def drop_other_archives(params: Params) -> None:
    """Delete downloaded files, and a generator's mirror, whose digests are not the recorded ones."""
    recorded = Path("results") / params.suite / "download"
    for source, entry in params.active.sources.items():
        archive = paths.raw(params) / source
        if _digest(archive.with_name(f"{source}.json")) == _digest(recorded / f"{source}.json"):
            continue
        archive.unlink(missing_ok=True)
        archive.with_name(f"{source}.json").unlink(missing_ok=True)
        if (entry.url or "").startswith(f"file:{paths.mirror()}/"):
            shutil.rmtree(paths.mirror(), ignore_errors=True)


def drop_other_tracking(params: Params) -> None:
    """Delete ``reports/tracking.json`` when it is about other results: MLflow has yet to hear of the present ones."""
    path = Path("reports/tracking.json")
    if not path.exists():
        return
    present = {backbone: pipeline_key(params, backbone) for backbone in params.backbones}
    if read_json(path).get("pipelines") != present:
        path.unlink()


def _digest(path: Path) -> str | None:
    try:
        return str(read_json(path)["sha256"])
    except InputError:
        return None


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / command[0]  # of this environment, activated or not
    name = str(program) if program.exists() else command[0]
    return subprocess.run([name, *command[1:]], capture_output=True, text=True, check=False)
