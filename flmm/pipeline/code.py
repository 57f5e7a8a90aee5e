"""What code a step consists of: the modules that its entry modules import, directly or not."""

from collections.abc import Iterable
from pathlib import Path

from flmm.files import sha256_of
from flmm.pipeline.hashes import Hashes

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "flmm"

# Modules that move values and files around and fix no result, and the conversation, which no step holds. Neither they
# nor what they import belong to a step.
NO_CONTENT = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "params", "sections", "training_section", "files", "errors", "device", "progress", "ahead", "pipeline", "cli",
        "backbones.dialogue",
    )
)  # fmt: skip
# Modules that every backbone brings along and few steps use: they belong to those that begin in them (`content`).
ENTRIES_ONLY = frozenset({f"{PACKAGE}.backbones.questions"})


def modules(entries: Iterable[str], hashes: Hashes) -> dict[str, str]:
    """Every module of the package that ``entries`` are or import, directly or not, with the hash of its code."""
    waiting, found = list(entries), dict[str, str]()
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None or _has_no_content(name):
            continue
        found[name], imports = hashes.code(path)
        waiting += [
            imported
            for imported in imports
            if imported.startswith(f"{PACKAGE}.") and imported not in ENTRIES_ONLY
        ]
    return found


def code_hash(entries: Iterable[str], files: Iterable[str], hashes: Hashes) -> str:
    """One hash over the code of ``entries`` and all that they import, and over other ``files`` (or folders)."""
    others = [ROOT / name for name in files]
    return sha256_of(
        [
            sorted(modules(entries, hashes).items()),
            [hashes.folder(path) if path.is_dir() else hashes.file(path) for path in others],
        ]
    )


def _has_no_content(name: str) -> bool:
    return name == PACKAGE or any(name == one or name.startswith(f"{one}.") for one in NO_CONTENT)


def _file(name: str) -> Path | None:
    """The file of a module; None for a name inside a module."""
    path = ROOT / Path(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
