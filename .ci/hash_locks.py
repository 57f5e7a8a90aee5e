#!/usr/bin/env python3
"""Give every pin of the requirements*.lock files the SHA-256 of all files that the package index has of that release.

Run it after changing a pin; it needs `pip install uv`. Pins, markers and comments stay as they are.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from flmm.files import write_text

ROOT = Path(__file__).parents[1]
# The oldest Python for which every pin has a release.
PYTHON = "3.11.5"


def normal(name: str) -> str:
    """A project's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def hashes(pins: list[str]) -> dict[str, list[str]]:
    """``sha256:…`` of each pin's files, by the project's normal name."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "pins.txt"
        wanted.write_text("\n".join(pins) + "\n")
        options = [
            "--no-deps",
            "--no-header",
            "--no-annotate",
            "--generate-hashes",
            "--python-version",
            PYTHON,
        ]
        command = [sys.executable, "-m", "uv", "--quiet", "pip", "compile", *options, str(wanted)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if pin := re.match(r"([\w.-]+)==", line):
            name = normal(pin[1])
        found.setdefault(name, []).extend(re.findall(r"sha256:[0-9a-f]{64}", line))
    return found


def hashed(lock: str) -> str:
    """The lock's text with hashes; what it had of them is replaced."""
    kept = [line.removesuffix(" \\") for line in lock.splitlines() if not line.startswith("    --hash=")]
    found = hashes([line.partition(";")[0].strip() for line in kept if "==" in line and line[0] != "#"])
    lines = []
    for line in kept:
        pin = re.match(r"([\w.-]+)==", line)
        lines.append(
            " \\\n".join([line, *(f"    --hash={each}" for each in found[normal(pin[1])])]) if pin else line
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path in sorted(ROOT.glob("requirements*.lock")):
        write_text(path, hashed(path.read_text()))
