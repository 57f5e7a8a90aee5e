"""The judge of answers: a stub endpoint that grades, is busy, refuses, or is not there."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import tenacity

from flmm.errors import StepError
from flmm.evaluation import judge
from flmm.evaluation.judge import graded, score_in
from flmm.sections import Judge
from tests.ports import refusing

Reply = tuple[int, str]


def said(text: str) -> Reply:
    """The reply of an OpenAI-compatible endpoint."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@contextmanager
def endpoint(reply: Callable[[dict[str, Any]], Reply]) -> Iterator[tuple[Judge, list[dict[str, Any]]]]:
    """A judge at a loopback address, and what it was sent."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            status, text = reply(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Judge(url=f"http://127.0.0.1:{server.server_port}/v1", model="stub"), seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "BACKOFF", tenacity.wait_none())
    monkeypatch.delenv(judge.KEY, raising=False)


def rows(*answers: str) -> list[dict[str, Any]]:
    return [{"text": "What color?", "label": "red", "answer": answer, "grade": None} for answer in answers]


def test_every_answer_is_graded_and_equal_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(judge.KEY, "secret")

    def reply(body: dict[str, Any]) -> Reply:
        return said(
            "score: 1" if body["messages"][-1]["content"].endswith("model's answer: red") else "score: 0.25"
        )

    with endpoint(reply) as (at, seen):
        found = graded(rows("red", "pink", "red"), at, "test")
    assert [row["grade"] for row in found] == [1.0, 0.25, 1.0]
    assert len(seen) == 2 and seen[0]["path"] == "/v1/chat/completions"
    assert seen[0]["model"] == "stub" and seen[0]["key"] == "Bearer secret"


def test_a_busy_judge_is_asked_again() -> None:
    replies = [(503, ""), (429, ""), said("Score: 0.5")]
    with endpoint(lambda body: replies.pop(0)) as (at, seen):
        assert graded(rows("red"), at, "test")[0]["grade"] == 0.5
    assert len(seen) == 3


def test_a_lost_connection_ends_with_a_sentence_that_says_what_to_do() -> None:
    with (
        refusing() as address,
        pytest.raises(
            StepError, match=r"/v1/chat/completions: the judge does not answer .*4 attempts.*params\.yaml"
        ),
    ):
        graded(rows("red"), Judge(url=f"{address}/v1", model="stub"), "test")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ((401, "no"), r"refuses \(status 401; is FLMM_JUDGE_KEY set\?\)"),
        ((404, "no"), r"refuses \(status 404\)"),
        ((200, "<html>"), "not the reply of an OpenAI-compatible endpoint"),
        ((200, "{}"), "not the reply of an OpenAI-compatible endpoint"),
    ],
)
def test_what_is_no_judge_is_said_at_once(reply: Reply, sentence: str) -> None:
    with endpoint(lambda body: reply) as (at, seen), pytest.raises(StepError, match=sentence):
        graded(rows("red"), at, "test")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("score: 0.8", 0.8),
        ("Score: <1>", 1.0),
        ("score:.5", 0.5),
        ("fine", 0.0),
        ("", 0.0),
        ("score: 1.0.", 1.0),
    ],
)
def test_scores_are_read_from_replies(text: str, score: float) -> None:
    assert score_in(text) == score
