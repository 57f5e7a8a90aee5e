"""Which commit is checked out."""

import subprocess
from pathlib import Path

import pytest

from flmm.git import Commit, checked_out


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_commit_is_named_and_changes_of_tracked_files_are_told(tmp_path: Path) -> None:
    git(tmp_path, "init")
    assert checked_out(tmp_path) is None  # nothing is committed yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    digits = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("")
    assert checked_out(tmp_path) == Commit(digits, modified=False)
    (tmp_path / "dvc.lock").write_text("mine")
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "-m", "results")
    (tmp_path / "dvc.lock").write_text("those of another run")
    assert checked_out(tmp_path) == Commit(git(tmp_path, "rev-parse", "HEAD"), modified=False)
    git(tmp_path, "reset", "--hard", digits)
    (tmp_path / "file").write_text("two")
    assert checked_out(tmp_path) == Commit(digits, modified=True)


def test_outside_a_repository_and_without_git_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert checked_out(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checked_out(Path(__file__).parent) is None
