"""The Dockerfile, as far as it can be checked without Docker: what it copies, installs, runs, and as whom."""

import fnmatch
import re
import shlex
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
LINES = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", (PROJECT / "Dockerfile").read_text()).splitlines()
    if line and not line.startswith("#")
]


def of(instruction: str) -> list[str]:
    """The arguments of each instruction of that name."""
    return [rest for name, rest in LINES if name == instruction]


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves a path of the project out (its patterns begin at the root)."""
    patterns = [
        line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]
    parts = path.split("/")
    heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    return any(
        fnmatch.fnmatch(part, pattern[3:]) if pattern.startswith("**/") else _matches(head, pattern)
        for pattern in patterns
        for part, head in zip(parts, heads, strict=True)
    )


def _matches(path: str, pattern: str) -> bool:
    """A star stops at a slash."""
    return path.count("/") == pattern.count("/") and fnmatch.fnmatch(path, pattern)


def test_the_base_is_an_argument_with_a_default() -> None:
    assert LINES[0][0] == "ARG" and re.fullmatch(r"BASE=[\w.-]+:[\w.-]+", LINES[0][1])
    assert of("FROM") == ["${BASE}"]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    for copied in of("COPY"):
        *sources, _ = [word for word in shlex.split(copied) if not word.startswith("--")]
        for source in sources:
            assert (PROJECT / source).exists(), source
            assert source == "." or not ignored(source), source


def test_its_packages_are_those_of_the_locks() -> None:
    (environment,) = [run for run in of("RUN") if "requirements.lock" in run]
    commands = [command for command in environment.split("&&") if "pip install" in command]
    assert len(commands) == 2 and all("--require-hashes" in command for command in commands)
    assert set(re.findall(r"requirements[\w-]*\.lock", environment)) == {
        "requirements.lock",
        "requirements-demo.lock",
    }
    stamps = re.findall(r"^\w+ := \$\(VENV\)/(\.\w+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    touched = " ".join(of("RUN"))
    assert {".installed", ".demo"} <= set(stamps)  # so `make reproduce` and `make demo` install nothing again
    assert all(f".venv/{stamp}" in touched for stamp in (".installed", ".demo"))


def test_it_runs_the_pipeline_as_a_user_without_rights() -> None:
    assert of("CMD") == ['["make", "reproduce"]']
    (user,) = of("USER")
    assert user.isdigit() and int(user) > 0
    assert all(f"--chown={user}:{user}" in copied for copied in of("COPY"))


def test_nothing_tracked_is_left_out_and_nothing_that_runs_write_goes_in() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository")
    assert [path for path in listed.stdout.splitlines() if ignored(path)] == []
    written = [
        line.strip("/")
        for line in (PROJECT / ".gitignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    for path in [
        *written,
        ".venv/bin/python",
        "cache/extract/x",
        "flmm/__pycache__/a.pyc",
        ".dvc/cache/files",
    ]:
        assert ignored(path.replace("*", "x")), path
