"""How a training tells where it is: a bar on a terminal, lines in a log file, records to a tracker."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.progress import MofNCompleteColumn, TextColumn

from flmm.progress import progress_bar
from flmm.training.checkpoints import Record

LINE_EVERY = 50  # steps

OnStep = Callable[[Record], None]
log = logging.getLogger(__name__)


class Reporter:
    """Appends each step's record to the curves and shows it; a tracker that fails is not asked again."""

    def __init__(self, curves: Path, *, steps: int, done: int, on_step: OnStep | None) -> None:
        self._path, self._steps, self._done = curves, steps, done
        self._on_step = on_step
        self._seconds, self._images = time.perf_counter(), 0
        self._bar = progress_bar(MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        self._console = self._bar.console

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8")
        self._bar.start()
        self._task = self._bar.add_task("train", total=self._steps, completed=self._done, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()

    def step(self, record: Record, images: int) -> None:
        """One optimiser step over ``images`` images is done."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._images += images
        rate = self._images / (time.perf_counter() - self._seconds)
        text = f"loss {record['loss']:.3f}  lr {record['lr']:.1e}  {rate:.1f} img/s"
        self._bar.update(self._task, advance=1, text=text)
        step = record["step"]
        if not self._console.is_terminal and (step % LINE_EVERY == 0 or step == self._steps):
            self._console.print(f"step {step}/{self._steps}  {text}", highlight=False)
        self._stream(record)

    def _stream(self, record: Record) -> None:
        if self._on_step is None:
            return
        try:
            self._on_step(record)
        except Exception as error:  # whatever a tracker's client raises: the curves file has the record
            log.warning("live tracking stopped at step %s: %s", record["step"], error)
            self._on_step = None
