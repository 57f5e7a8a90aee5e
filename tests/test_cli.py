"""The command line: one line for people, and an exit code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def flmm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flmm", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["extract", "--backbone", "gpt-9", "--part", "refcoco-val"], "gpt-9"),
        (["extract", "--backbone", "shapes-llava", "--part", "refcoco-test"], "refcoco-test"),
        (["download", "--source", "train2099.zip"], "train2099.zip"),
        (["evaluate", "--backbone", "shapes-llava", "--benchmark", "vqa"], "vqa"),
        (["report", "--show"], "reports/metrics.json"),
        (["keywords", "--backbone", "gpt-9"], "gpt-9"),
        (["train", "--backbone", "shapes-llava"], "train shapes-llava: needs train2014.zip"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_exit_code_2(
    folder: Path, arguments: list[str], names: str
) -> None:
    done = flmm(folder, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert names in done.stderr


def test_an_unknown_command_is_a_usage_error(folder: Path) -> None:
    done = flmm(folder, "pretrian")
    assert done.returncode == 2
    assert "pretrian" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_params_file_can_be_named(folder: Path) -> None:
    done = flmm(folder, "--params", "other.yaml", "prepare", "--part", "png-val")
    assert done.returncode == 2
    assert "other.yaml: no such file" in done.stderr


def test_recording_before_anything_ran_is_a_failure_that_says_what_is_missing(folder: Path) -> None:
    done = flmm(folder, "record")
    assert done.returncode == 1
    assert re.fullmatch(r"error: \d+ steps have to run, such as `.*`; run `snakemake` first\n", done.stderr)


def test_no_command_imports_a_heavy_library_before_it_runs() -> None:
    heavy = "('torch', 'transformers', 'mlflow', 'snakemake')"
    code = f"import flmm.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == "[]"
