"""Which commit of the project is checked out, for the report and for MLflow."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """A commit by its 40 hexadecimal digits, and whether tracked files differ from it, but for what a run writes."""

    digits: str
    modified: bool


def checked_out(project: Path = Path()) -> Commit | None:
    """The commit of the folder `project`; None outside a repository, before its first commit, or without git."""
    digits = _git(project, "rev-parse", "--verify", "HEAD")
    if not digits:
        return None
    # A release holds dvc.lock. Whoever runs it writes the versions of their own results there: these are no other code.
    tracked = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)dvc.lock")
    return Commit(digits, bool(_git(project, *tracked)))


def _git(project: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:  # git is not installed
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
