"""Snakemake's log for a person: one line a job, the time left, and at the end the time of each step.

`make reproduce` puts the folder above on the path and says `--logger lines`; a bare `snakemake` call keeps its own log.
The details of every job are in `logs/`. What earlier runs took is remembered in `logs/seconds.json`.
"""

import contextlib
import json
import os
import sys
import time
from collections import Counter, defaultdict
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

MEMORY = Path("logs/seconds.json")
QUIET = ("Nothing to be done",)  # the one plain message that a person waits for
LAST_LINES = 8  # of a failed job's log
AGGREGATES = ("all", "prepared")  # rules without work of their own


class LogHandler(LogHandlerBase):
    """Writes to stderr, as Snakemake's own handler does."""

    def __post_init__(self) -> None:
        self._names: dict[int, str] = {}  # job id -> "train shapes-llava"
        self._rules: dict[int, str] = {}
        self._logs: dict[int, list[str]] = {}
        self._started: dict[int, float] = {}
        self._waiting: Counter[str] = Counter()  # rule -> jobs that have not ended
        self._ended: Counter[str] = Counter()
        self._total = 0
        self._cores = 1
        self._spent: defaultdict[str, list[float]] = defaultdict(list)
        self._known: dict[str, float] = _remembered()
        self._began = time.monotonic()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: LogRecord) -> None:
        """Say what matters of a record, and remember the rest."""
        event = getattr(record, "event", None)
        handler = {
            LogEvent.RUN_INFO: self._run,
            LogEvent.RESOURCES_INFO: self._resources,
            LogEvent.JOB_INFO: self._job,
            LogEvent.JOB_STARTED: self._start,
            LogEvent.JOB_FINISHED: self._finish,
            LogEvent.JOB_ERROR: self._fail,
        }.get(event)
        if handler is not None:
            handler(record.__dict__)
        elif record.levelno >= WARNING or str(record.msg).startswith(QUIET):
            _say(record.getMessage().strip())

    def _run(self, record: dict[str, Any]) -> None:
        """At the start, at the end, and whenever jobs were added: the numbers hold what has ended, too."""
        first, self._total = not self._total, record["stats"]["total"]
        self._waiting = Counter(record["stats"]) - self._ended
        del self._waiting["total"]
        if first:
            _say(f"{self._total} jobs{_about(self._left())}; details are in logs/")

    def _resources(self, record: dict[str, Any]) -> None:
        self._cores = record.get("cores") or self._cores

    def _job(self, record: dict[str, Any]) -> None:
        job, rule = record["jobid"], record["rule_name"]
        self._rules[job], self._logs[job] = rule, [str(path) for path in record.get("log") or ()]
        items = {name: value for name, value in (record.get("wildcards") or {}).items() if name != "suite"}
        self._names[job] = " ".join([rule, *map(str, items.values())])

    def _start(self, record: dict[str, Any]) -> None:
        self._started |= dict.fromkeys(record["jobs"], time.monotonic())

    def _finish(self, record: dict[str, Any]) -> None:
        job = record["job_id"]
        rule, seconds = self._rules.get(job, "?"), self._since(self._started.pop(job, None))
        self._ended[rule] += 1
        self._waiting[rule] -= 1
        if rule in AGGREGATES:
            return
        self._spent[rule].append(seconds)
        self._known[self._names[job]] = seconds
        running = [f"{self._names[other]} ({_clock(self._since(at))})" for other, at in self._started.items()
                   if self._rules.get(other) not in AGGREGATES]  # fmt: skip
        others = f" · running: {', '.join(running)}" if running else ""
        width = len(str(self._total))
        _say(
            f"[{self._ended.total():{width}d}/{self._total}] {self._names[job]}  {_clock(seconds)}"
            f"{others}{_about(self._left())}"
        )

    def _fail(self, record: dict[str, Any]) -> None:
        job = record["jobid"]
        self._started.pop(job, None)
        _say(f"FAILED {self._names.get(job, record['rule_name'])}")
        for path in [*self._logs.get(job, ())]:
            _say(f"  {path}:")
            with contextlib.suppress(OSError):
                lines = Path(path).read_text(errors="replace").splitlines()
                for line in lines[-LAST_LINES:]:
                    _say(f"    {line}")

    def _left(self) -> float | None:
        """Seconds to come, judging by what jobs of each rule took, now or in an earlier run; None: nobody knows."""
        ended = {rule: sum(spent) / len(spent) for rule, spent in self._spent.items()}
        earlier: defaultdict[str, list[float]] = defaultdict(list)
        for name, seconds in self._known.items():
            earlier[name.split()[0]].append(seconds)
        expected = {rule: sum(spent) / len(spent) for rule, spent in earlier.items()} | ended
        coming = {rule: n for rule, n in self._waiting.items() if n > 0 and rule not in AGGREGATES}
        if any(rule not in expected for rule in coming):
            return None
        work = sum(n * expected[rule] for rule, n in coming.items())
        done = sum(min(self._since(at), expected.get(self._rules.get(job, ""), 0.0))
                   for job, at in self._started.items())  # fmt: skip
        return max(0.0, work - done) / max(1, self._cores)

    @staticmethod
    def _since(at: float | None) -> float:
        return 0.0 if at is None else time.monotonic() - at

    def close(self) -> None:
        """The time of each step, once, when Snakemake ends."""
        spent, self._spent = dict(self._spent), defaultdict(list)
        if spent:
            total = time.monotonic() - self._began
            _say(f"\n{'step':12s} {'jobs':>5s} {'time':>12s}")
            for rule, seconds in sorted(spent.items(), key=lambda each: -sum(each[1])):
                _say(f"{rule:12s} {len(seconds):5d} {_clock(sum(seconds)):>12s}")
            _say(
                f"{'in all':12s} {sum(map(len, spent.values())):5d} {_clock(total):>12s} (several jobs at once)"
            )
            _remember(self._known)
        super().close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _about(seconds: float | None) -> str:
    if seconds is None or seconds < 1:
        return ""
    return f" · about {_clock(seconds if seconds < 90 else 60 * round(seconds / 60))} left"


def _remembered() -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(MEMORY.read_text())
        return {str(name): float(seconds) for name, seconds in found.items()}
    return {}


def _remember(known: dict[str, float]) -> None:
    """A convenience: where it cannot be written, the next run knows less."""
    with contextlib.suppress(OSError):
        MEMORY.parent.mkdir(exist_ok=True)
        fresh = MEMORY.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({name: round(seconds, 1) for name, seconds in known.items()}, indent=1))
        fresh.replace(MEMORY)
