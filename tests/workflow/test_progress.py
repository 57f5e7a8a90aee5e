"""The log of `make reproduce`: one line a job, what failed and why, the time of each step, the time left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import REPOSITORY

SNAKEFILE = """
rule all:
    input: "b1", "b2", "c"
rule a:
    output: "a{n}"
    shell: "sleep 1; touch {output}"
rule b:
    input: "a{n}"
    output: "b{n}"
    shell: "touch {output}"
rule c:
    output: "c"
    log: "logs/c.log"
    shell: "if [ -f well ]; then touch c; else echo out of luck > {log}; exit 1; fi"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def snakemake(project: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "lines", "--keep-going"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow/progress")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_line_for_each_job_and_the_end_of_a_failed_one_s_log(project: Path) -> None:
    code, said = snakemake(project)
    assert code == 1
    assert said.startswith("6 jobs; details are in logs/\n")  # nothing tells yet how long they take
    for job in ("a 1", "a 2", "b 1", "b 2"):
        assert re.search(rf"^\[\d/6\] {job}  \d+ s", said, re.M), said
    assert "FAILED c\n  logs/c.log:\n    out of luck\n" in said
    taken = re.search(r"^a +2 +(\d+) s$", said, re.M)
    assert taken and int(taken[1]) >= 2 and "in all" in said


def test_the_next_run_knows_how_long_jobs_take(project: Path) -> None:
    (project / "well").touch()
    assert snakemake(project)[0] == 0
    assert "Nothing to be done" in snakemake(project)[1]
    for name in ("a1", "a2", "b1", "b2"):
        (project / name).unlink()
    code, said = snakemake(project)
    assert code == 0
    left = re.match(r"5 jobs · about (\d+) s left;", said)
    assert left and int(left[1]) >= 2, said
    assert re.search(r"^\[5/5\]", said, re.M) is None  # `all` has no line of its own
