"""`python -m rehearsal`, run from a checkout (`make rehearse`): the paper's suite in small."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from flmm.errors import InputError
from rehearsal.findings import findings
from rehearsal.preloaded import preloaded
from rehearsal.project import REPOSITORY, make_project

# Neither the user's MLflow nor a profile of theirs takes part.
_FOREIGN = ("MLFLOW", "DVC", "SNAKEMAKE")


def rehearse(
    work: Annotated[Path, typer.Option(help="Directory for everything that it writes.")],
    families: Annotated[
        str, typer.Option(help="Families with commas between them; all: each that there is.")
    ] = "all",
    segmenter: Annotated[
        Path | None,
        typer.Option(help="Directory of a small SAM: the random ViT-B takes most of the time on a CPU."),
    ] = None,
    cores: Annotated[str, typer.Option(help="How many cores Snakemake may use: a number, or all.")] = "all",
) -> None:
    """Run the paper's suite on made-up files in the upstream layouts with tiny random models; nothing is downloaded."""
    began, work = time.monotonic(), work.resolve()
    params = make_project(work, None if families == "all" else families.split(","), segmenter)
    print(f"{work}: {len(params.backbones)} backbones, {len(params.sources)} sources", flush=True)
    with preloaded(_environment()) as environment:
        command = [sys.executable, "-m", "snakemake", "--cores", cores, "--logger", "lines"]
        said = subprocess.run(command, cwd=work, env=environment)
    if said.returncode:
        raise InputError(f"{work}: the pipeline stopped; what it said is above and in {work / 'logs'}")
    print(f"{time.monotonic() - began:.0f} s; the page: {work / 'reports' / 'index.html'}")
    if missing := findings(work, params):
        raise InputError("; ".join(missing))
    print("Every benchmark of every backbone is in the report, and every step in MLflow.")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = os.pathsep.join(
        filter(None, [str(REPOSITORY), str(REPOSITORY / "workflow" / "progress"), kept.get("PYTHONPATH", "")])
    )
    return kept | {
        "PYTHONPATH": path,
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def main() -> None:
    """Run the command; what the user can mend is one line on stderr and exit code 2."""
    try:
        typer.run(rehearse)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
