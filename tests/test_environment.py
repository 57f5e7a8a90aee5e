"""The pinned environment: locks, pyproject.toml and environment.yml say the same, and `make` installs it quietly."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
LOCKS = sorted(path.name for path in PROJECT.glob("requirements*.lock"))
PROJECT_TABLE: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def pins(*locks: str) -> dict[str, str]:
    """Versions by normal name."""
    text = "\n".join((PROJECT / lock).read_text() for lock in locks)
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.M)
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_the_hashes_of_its_files_and_no_address(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    assert "://" not in text and "--index" not in text and "--find" not in text
    entries = re.sub(r" \\\n", " ", text).splitlines()
    for entry in (line for line in entries if line and not line.startswith("#")):
        assert re.fullmatch(r"[\w.-]+==[^\s;]+(; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry), entry[:80]


def test_a_package_is_pinned_once() -> None:
    assert LOCKS == [
        "requirements-demo.lock", "requirements-docs.lock", "requirements-test.lock", "requirements.lock",
    ]  # fmt: skip
    main = pins("requirements.lock")
    for lock in LOCKS[:-1]:
        assert not set(pins(lock)) & set(main), f"{lock} repeats pins of requirements.lock"


@pytest.mark.parametrize(
    ("wanted", "locks"),
    [
        (PROJECT_TABLE["dependencies"], ["requirements.lock"]),
        (PROJECT_TABLE["optional-dependencies"]["dev"], ["requirements.lock"]),
        (PROJECT_TABLE["optional-dependencies"]["captions"], ["requirements.lock"]),
        (PROJECT_TABLE["optional-dependencies"]["demo"], ["requirements-demo.lock"]),
    ],
    ids=["dependencies", "dev", "captions", "demo"],
)
def test_what_pyproject_asks_for_is_pinned_within_its_range(wanted: list[str], locks: list[str]) -> None:
    pinned = pins(*locks)
    for requirement in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(version), f"{requirement}: {version} is pinned"


def test_conda_makes_the_same_environment() -> None:
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    plain = [each for each in environment["dependencies"] if isinstance(each, str)]
    (inner,) = [each["pip"] for each in environment["dependencies"] if isinstance(each, dict)]
    # Pip refuses a project folder beside hashed pins: the package itself is installed by a command of its own.
    assert inner == ["-r requirements.lock"]
    python = next(each.partition("=")[2] for each in plain if each.startswith("python="))
    assert Requirement(f"python{PROJECT_TABLE['requires-python']}").specifier.contains(f"{python}.15")
    assert {"git", "make", "pip"} <= set(plain)


# Stands for a Python that makes environments whose pip notes what it is asked for, and says nothing itself.
PYTHON = """#!/bin/sh
[ "$2" = venv ] || exit 0
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >> pip.log\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""


def outside_make() -> dict[str, str]:
    """The environment without what a `make` that runs these tests hands on: its own would speak of folders then."""
    return {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }


def test_make_says_one_line_for_each_thing_that_it_installs(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        shutil.copy(PROJECT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    command = ["make", "install-test", f"PYTHON={python}", "VENV=venv"]
    done = subprocess.run(
        command, cwd=tmp_path, env=outside_make(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "installing the pinned packages into venv (about two minutes)",
        "installing what the web demo needs",
        "installing what more tests need",
    ]
    assert done.stderr == ""
    asked = (tmp_path / "pip.log").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == [
        "requirements.lock", ".", "requirements-demo.lock", "requirements-test.lock",
    ]  # fmt: skip
    assert all("--quiet --quiet --disable-pip-version-check" in line for line in asked)


def test_pull_wants_an_address_and_a_commit_that_names_results(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / "venv").mkdir()
    for name in ("requirements.lock", "pyproject.toml", "venv/.installed"):
        (tmp_path / name).touch()

    def pull(*remote: str) -> str:
        command = ["make", "pull", "VENV=venv", *remote]
        done = subprocess.run(
            command, cwd=tmp_path, env=outside_make(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        return done.stdout

    assert pull() == "say where from: make pull REMOTE=<address or folder>\n"
    assert "no dvc.lock): check out a release" in pull("REMOTE=somewhere")
