"""How long something takes on a device: the median of a few repeats, within a budget."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.real_sizes import timed


@dataclass(frozen=True)
class Clock:
    """Repeats on ``device``, at most ``repeats``; after ``budget`` seconds no further one begins."""

    device: torch.device
    repeats: int = 5
    budget: float = 3.0

    def seconds(self, run: Callable[[], Any]) -> float:
        """The median of one call's seconds; the first call, which warms up, does not count."""
        spent, taken = timed(run, self.device), list[float]()
        while not taken or (len(taken) < self.repeats and spent < self.budget):
            taken.append(timed(run, self.device))
            spent += taken[-1]
        return statistics.median(taken)
