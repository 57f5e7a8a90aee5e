"""Resumable checkpoints: whole files under ``checkpoints/<key>``, the last two kept, loaded as plain data.

The key stands for everything that decides a training's result; checkpoints of another key are never loaded.
The curves so far lie beside them: Snakemake and DVC delete a rule's outputs before it runs again.
"""

import json
import logging
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from flmm.errors import first_line
from flmm.files import atomic_path, write_text

KEPT = 2
KEY_DIGITS = 12

Record = dict[str, float | int]
log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training run under ``root``, and its curves so far."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._key = key
        self._folder = root / key[:KEY_DIGITS]
        self._folder.mkdir(parents=True, exist_ok=True)
        for stale in self._folder.glob(".*.tmp*"):  # what a kill left half-written
            stale.unlink()
        for other in sorted(path for path in root.iterdir() if path != self._folder):
            log.warning("%s: made with other parameters, data or code; not resumed", other)

    @property
    def curves(self) -> Path:
        """One JSON record per step, appended as the training goes."""
        return self._folder / "curves.jsonl"

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep ``state`` (tensors, numbers, strings) as of ``step``; older ones but the last two go.

        Raises:
            StepError: the disk is full or not writable.
        """
        if self.curves.exists():
            _sync(self.curves)  # never a checkpoint whose curves are lost
        with atomic_path(self._path(step)) as temporary:
            try:
                torch.save({**state, "key": self._key, "step": step}, temporary)
            except RuntimeError as error:  # how torch's zip writer reports a full disk
                raise OSError(first_line(error)) from error
        for path in self._saved()[:-KEPT]:
            path.unlink()

    def resume(self) -> tuple[int, dict[str, Any] | None]:
        """The newest usable checkpoint's step and state, or (0, None); cuts the curves back to that step."""
        for path in reversed(self._saved()):
            state = self._load(path)
            if state is None:
                path.unlink()
                continue
            step: int = state["step"]
            lines = self._lines()
            if len(lines) >= step:
                write_text(self.curves, "".join(line + "\n" for line in lines[:step]))
                return step, state
            log.warning("%s: its curves are incomplete; not resumed", path)
            path.unlink()
        self.curves.unlink(missing_ok=True)
        return 0, None

    def records(self) -> list[Record]:
        """The curves so far."""
        return [json.loads(line) for line in self._lines()]

    def remove(self) -> None:
        """Delete all checkpoints, other keys' too: the training is finished and its results are written."""
        shutil.rmtree(self._root)

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}.pt"

    def _saved(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))

    def _load(self, path: Path) -> dict[str, Any] | None:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
            log.warning("%s: not a whole checkpoint (%s); ignored", path, first_line(error)[:100])
            return None
        if (
            not isinstance(state, dict)
            or state.get("key") != self._key
            or not isinstance(state.get("step"), int)
        ):
            log.warning("%s: made with other parameters, data or code; not resumed", path)
            return None
        return state

    def _lines(self) -> list[str]:
        """Whole lines only: a kill may have cut the last one."""
        if not self.curves.exists():
            return []
        return self.curves.read_text(encoding="utf-8").split("\n")[:-1]


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
