"""SHA-256 of files and folders, computed once and remembered by size and date.

Model directories and archives of many gigabytes are part of keys that every process needs. Only this memory goes by a
file's date; a file that was changed without a new size or date (nothing does that by accident) is not noticed.
"""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flmm.errors import InputError, StepError
from flmm.files import read_json, sha256_file, sha256_of, write_json

MEMORY = Path("cache/hashes.json")


class Hashes:
    """What is known of files; ``save`` keeps it for the next process.

    Two processes that save at once lose some memory, never a right answer.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory or MEMORY
        self._known = _read(self._memory)
        self._changed = False

    def file(self, path: Path) -> str:
        """The SHA-256 of a file."""
        found: str = self._remembered("sha256", path, sha256_file)
        return found

    def folder(self, folder: Path) -> str:
        """One hash over the names and contents of all files below ``folder``, but for what people read (README.md)."""
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and path.name != "README.md" and "__pycache__" not in path.parts
        )
        return sha256_of([(path.relative_to(folder).as_posix(), self.file(path)) for path in files])

    def code(self, path: Path) -> tuple[str, list[str]]:
        """A hash of a module's syntax tree without comments and docstrings, and the names that it imports."""
        digest, imports = self._remembered("code", path, _parse)
        return digest, imports

    def save(self) -> None:
        """Write what was learnt; where nothing may be written it is learnt again next time."""
        if not self._changed:
            return
        try:
            write_json(self._memory, {**_read(self._memory), **self._known})
        except StepError:
            return
        self._changed = False

    def _remembered(self, kind: str, path: Path, compute: Callable[[Path], Any]) -> Any:
        facts = path.stat()
        name, state = f"{kind} {path.absolute()}", [facts.st_size, facts.st_mtime_ns]
        known = self._known.get(name)
        if not isinstance(known, dict) or known.get("state") != state:
            known = {"state": state, "value": compute(path)}
            self._known[name] = known
            self._changed = True
        return known["value"]


def _read(memory: Path) -> dict[str, Any]:
    try:
        known = read_json(memory)
    except InputError:
        return {}  # absent or damaged: everything is computed again
    return known if isinstance(known, dict) else {}


def _parse(path: Path) -> tuple[str, list[str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = sorted({name for node in ast.walk(tree) for name in _imported(node)})
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_docstring(part)]
    return sha256_of(ast.dump(tree)), imports


def _imported(node: ast.AST) -> list[str]:
    """Modules, or names in modules, that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
