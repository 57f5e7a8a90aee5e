"""The thread of the models: one piece of work at a time, a bounded number of waiting ones, nobody left without word."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flmm.app.models import WAITING, Models
from flmm.errors import InputError

PATIENCE = 120  # seconds; nothing takes so long where all is right


@pytest.fixture
def models() -> Iterator[Models]:
    made = Models({"first": lambda: object(), "second": lambda: object()})  # type: ignore[dict-item, return-value]
    yield made
    made.close()


def test_a_model_is_loaded_when_it_is_asked_for_and_once(models: Models) -> None:
    assert models.names == ["first", "second"]
    assert models.get("first") is models.get("first")
    assert models.get("first") is not models.get("second")
    with pytest.raises(InputError, match="no model 'third' here; choose one of: first, second"):
        models.get("third")


def test_pieces_come_in_order_and_while_the_work_goes_on(models: Models) -> None:
    seen = threading.Event()

    def work() -> Iterator[str]:
        yield "a"
        assert seen.wait(PATIENCE), "nobody saw the first piece before the second was made"
        yield "b"

    stream = models.stream(work)
    assert next(stream) == "a"
    seen.set()
    assert list(stream) == ["b"]


def test_an_error_of_the_work_reaches_the_listener_and_the_next_work_runs(models: Models) -> None:
    def fails() -> Iterator[str]:
        yield "a"
        raise InputError("too long")

    with pytest.raises(InputError, match="too long"):
        list(models.stream(fails))
    assert list(models.stream(lambda: iter(["fine"]))) == ["fine"]


def test_work_ends_when_nobody_listens_any_more(models: Models) -> None:
    ended = threading.Event()

    def endless() -> Iterator[str]:
        try:
            while True:
                time.sleep(0.001)
                yield "more"
        finally:
            ended.set()

    stream = models.stream(endless)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert ended.wait(PATIENCE)
    assert list(models.stream(lambda: iter(["next"]))) == ["next"]


def test_of_twenty_at_once_each_is_answered_or_refused_in_words_and_none_overlap(models: Models) -> None:
    inside, most, gate = 0, 0, threading.Barrier(20)

    def work() -> Iterator[str]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for piece in ("a", "b"):
            time.sleep(0.01)
            yield piece
        inside -= 1

    def ask(_: int) -> Any:
        gate.wait()
        try:
            return list(models.stream(work))
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(20) as people:
        results = list(people.map(ask, range(20)))
    answered = [result for result in results if result == ["a", "b"]]
    refused = [result for result in results if isinstance(result, str)]
    assert len(answered) + len(refused) == 20
    assert len(answered) >= WAITING + 1
    assert all("waiting already" in words for words in refused)
    assert most == 1
    assert list(models.stream(lambda: iter(["later"]))) == ["later"]


def test_who_waits_when_the_app_ends_is_not_left_hanging(models: Models) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        begun.set()
        release.wait(PATIENCE)
        yield "done"

    with ThreadPoolExecutor(3) as people:
        first = people.submit(lambda: list(models.stream(slow)))
        assert begun.wait(PATIENCE)
        second = people.submit(lambda: list(models.stream(lambda: iter(["never"]))))
        while not models._thread._work_queue.qsize():  # it waits now
            time.sleep(0.01)
        closing = people.submit(models.close)
        assert second.result(PATIENCE) == []
        release.set()
        closing.result(PATIENCE)
        assert first.result(PATIENCE) == ["done"]
