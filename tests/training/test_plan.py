"""The order of a training: each image once per epoch, shared between processes, of equal weight."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmm.errors import InputError
from flmm.training.images import Batch, plan, share, workers_of
from flmm.training.trainer import learning_rate

from .synthetic import make_params


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 9), st.integers(0, 1000))
def test_every_epoch_sees_every_image_once(images: int, epochs: int, batch_size: int, seed: int) -> None:
    batches = plan(images, epochs=epochs, batch_size=batch_size, seed=seed)
    assert [batch.step for batch in batches] == list(range(1, len(batches) + 1))
    for epoch in range(1, epochs + 1):
        seen = [index for batch in batches if batch.epoch == epoch for index in batch.images]
        assert sorted(seen) == list(range(images))
    assert all(1 <= len(batch.images) <= batch_size for batch in batches)


def test_epochs_and_seeds_differ_in_order() -> None:
    first, second = plan(50, epochs=2, batch_size=50, seed=7)
    assert first.images != second.images
    assert plan(50, epochs=1, batch_size=50, seed=8)[0].images != first.images


@given(st.integers(1, 9), st.integers(1, 12))
def test_processes_together_see_each_image_with_equal_weight(images: int, processes: int) -> None:
    batch = Batch(1, 1, tuple(range(images)))
    total = dict.fromkeys(range(images), 0.0)
    for process in range(processes):
        mine, weight = share(batch, process, processes)
        assert mine  # a process without an image would leave the others waiting
        for index in mine:
            total[index] += weight / processes  # data parallelism averages over processes
    assert list(total.values()) == pytest.approx([1 / images] * images)


@given(st.integers(1, 500), st.floats(0, 0.99))
def test_the_rate_rises_to_its_peak_and_falls_towards_zero(steps: int, warmup: float) -> None:
    rates = [learning_rate(step, steps=steps, peak=1.0, warmup=warmup) for step in range(1, steps + 1)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0)
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, 1, 0), (2, 1, 0), (4, 1, 1), (16, 1, 4), (16, 4, 1), (128, 2, 8)]
)
def test_auto_is_a_quarter_of_a_trainer_s_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert workers_of("auto", processes) == workers
    assert workers_of(3, processes) == 3


@pytest.mark.parametrize("value", [-1, "some", 1.5, True])
def test_other_workers_are_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"train\.workers: expected auto, or how many processes, 0 for none"):
        make_params(Path("sam"), workers=value)
