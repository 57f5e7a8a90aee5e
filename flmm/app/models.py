"""The models behind the page: loaded when first asked for, and run by one thread, one question after the other."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from flmm.errors import InputError
from flmm.predictor import Grounder

WAITING = 12  # questions that may wait while one is answered

_END = object()


class Models:
    """The heads that can be chosen, by name, and the one thread in which all of them work.

    A thread of its own: a model and what listens inside it are never entered twice, whichever way the web server
    spreads the steps of an answer over its threads.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Grounder]]) -> None:
        self._loaders = dict(loaders)
        self._loaded: dict[str, Grounder] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flmm-model")
        self._places = threading.BoundedSemaphore(WAITING + 1)

    @property
    def names(self) -> list[str]:
        """The names, the first being the default."""
        return list(self._loaders)

    def get(self, name: str) -> Grounder:
        """The model of that name, loaded if need be; to be called in the models' thread.

        Raises:
            InputError: there is no such model, or it cannot be loaded.
        """
        if name not in self._loaders:
            raise InputError(f"There is no model {name!r} here; choose one of: {', '.join(self._loaders)}.")
        if name not in self._loaded:
            self._loaded[name] = self._loaders[name]()
        return self._loaded[name]

    def stream(self, work: Callable[[], Iterator[str]]) -> Iterator[str]:
        """What ``work`` yields, run in the models' thread; whoever stops listening stops the work.

        Raises:
            InputError: too many questions wait already; and whatever the work raises.
        """
        if not self._places.acquire(blocking=False):
            raise InputError(
                f"{WAITING} questions are waiting already, so this one was not taken; ask again in a moment."
            )
        pieces: queue.SimpleQueue[object] = queue.SimpleQueue()
        stopped = threading.Event()

        def run() -> None:
            try:
                if not stopped.is_set():
                    for piece in work():
                        pieces.put(piece)
                        if stopped.is_set():
                            break
            except BaseException as error:  # it belongs to the listener's thread
                pieces.put(error)

        def done(_: object) -> None:  # also of work that was cancelled before it began
            pieces.put(_END)
            self._places.release()

        self._thread.submit(run).add_done_callback(done)
        try:
            while (piece := pieces.get()) is not _END:
                if isinstance(piece, BaseException):
                    raise piece
                yield str(piece)
        finally:
            stopped.set()

    def close(self) -> None:
        """End the thread after the question that is being answered."""
        self._thread.shutdown(wait=True, cancel_futures=True)
