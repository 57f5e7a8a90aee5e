"""The next items are made in a thread while this one is used: pictures are read beside a model that is at work, and
it works beside a file that is written.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 0.1  # seconds after which a thread with a full queue looks whether anybody is still there


@dataclass(frozen=True)
class _Failed:
    """Stands in the queue where the next item would."""

    error: BaseException


_END = object()


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items in the same order; at most ``depth`` of them wait, and one more is being made.

    What goes wrong in the thread is raised here, in its item's place. Whoever stops early waits for the item that is
    being made.
    """
    waiting: Queue[Any] = Queue(maxsize=depth)
    unwanted = Event()
    thread = Thread(target=_make, args=(items, waiting, unwanted), daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        unwanted.set()
        with suppress(Empty):  # a place for the thread that waits for one
            waiting.get_nowait()
        thread.join()


def _make(items: Iterable[Any], waiting: Queue[Any], unwanted: Event) -> None:
    last: Any = _END
    try:
        for item in items:
            if not _put(item, waiting, unwanted):
                return
    except BaseException as error:  # the thread's own end too: somebody waits for the next item
        last = _Failed(error)
    _put(last, waiting, unwanted)


def _put(item: Any, waiting: Queue[Any], unwanted: Event) -> bool:
    """Whether there was still a use for the item."""
    while not unwanted.is_set():
        with suppress(Full):
            waiting.put(item, timeout=PATIENCE)
            return True
    return False
