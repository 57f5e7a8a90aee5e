"""The running page, asked as a browser asks: bounded, apart, private, and nothing left on the disk."""

import io
import json
import os
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `demo` is not installed: make install-demo")
DESCRIBE = "Please give me a description of the image."


class Tab:
    """A page without a browser: events go through the queue that the real page uses."""

    def __init__(self, app: str) -> None:
        self.http = httpx.Client(base_url=app, timeout=600)
        self.key = uuid.uuid4().hex
        self.config: dict[str, Any] = self.http.get("config").json()

    def handler(self, element: str, event: str) -> int:
        """The number of what happens on an event of the element with that id."""
        ids = {
            part["props"].get("elem_id"): part["id"] for part in self.config["components"] if "props" in part
        }
        (found,) = (
            each["id"]
            for each in self.config["dependencies"]
            if [ids[element], event] in map(list, each["targets"])
        )
        return int(found)

    def send(self, element: str, event: str, *data: Any, detail: Any = None) -> list[Any]:
        """What the handler's last message says."""
        body = {
            "data": list(data),
            "event_data": detail,
            "fn_index": self.handler(element, event),
            "session_hash": self.key,
        }
        joined = self.http.post("gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return [joined.json()]
        full: list[Any] = []
        with self.http.stream("GET", f"gradio_api/queue/data?session_hash={self.key}") as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    full = message["output"].get("data") or [message["output"]]
                    break
        return full

    def ask(self, question: str) -> tuple[str, str]:
        """The talk and the notice, as HTML."""
        answer = self.send("question", "submit", question)
        return str(answer[0]), str(answer[2]) if len(answer) > 2 else str(answer)

    def upload(self, name: str, data: bytes) -> httpx.Response:
        return self.http.post("gradio_api/upload", files={"files": (name, data)})


def png(size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (90, 30, 200)).save(stream, "PNG")
    return stream.getvalue()


def test_of_twenty_questions_at_once_each_is_answered_or_refused_in_words(app: str) -> None:
    tabs = [Tab(app) for _ in range(20)]
    with ThreadPoolExecutor(20) as people:
        results = list(people.map(lambda tab: tab.ask("What is at the top of the image?"), tabs))
    answered = [talk for talk, notice in results if 'class="answer"' in talk and not notice]
    refused = [notice for _, notice in results if "waiting already" in notice]
    assert len(answered) + len(refused) == 20, results
    assert len(answered) >= 10


def test_two_turns_of_one_tab_stay_in_it(app: str) -> None:
    one, other = Tab(app), Tab(app)
    one.ask(DESCRIBE)
    talk, _ = one.ask("What is at the top of the image?")
    assert talk.count('class="question"') == 2
    talk, _ = other.ask(DESCRIBE)
    assert talk.count('class="question"') == 1


@pytest.mark.parametrize(
    ("question", "says"), [("", "empty"), ("the star and " * 700, "exceed"), ("x" * 30_000, "30000")]
)
def test_a_question_that_cannot_be_answered_is_told_and_the_next_one_is_answered(
    app: str, question: str, says: str
) -> None:
    tab = Tab(app)
    _, notice = tab.ask(question)
    assert says in notice
    talk, notice = tab.ask("What is at the top of the image?")
    assert 'class="answer"' in talk
    assert not notice


def test_an_upload_becomes_the_picture_and_no_file_stays(app: str) -> None:
    tab = Tab(app)
    (path,) = tab.upload("mine.png", png((1200, 900))).json()
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    assert Path(path).is_relative_to(folder)
    stage, *_ = tab.send("upload", "upload", {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert stage["picture"].startswith("data:image/png;base64,")
    assert not [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
    assert tab.http.get(f"gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.parametrize("path", ["/etc/hostname", "pyproject.toml"])
def test_a_file_of_the_machine_is_neither_read_nor_deleted(app: str, path: str) -> None:
    tab = Tab(app)
    answer = tab.send("upload", "upload", {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "picture" not in str(answer[0])
    assert Path(path).exists()
    assert tab.http.get(f"gradio_api/file={path}").status_code in (403, 404)


def test_a_file_with_too_many_bytes_is_refused_before_it_is_kept(app: str) -> None:
    answer = Tab(app).upload("large.png", bytes(21_000_000))
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text


def test_a_phrase_that_is_not_there_is_told(app: str) -> None:
    (shown,) = Tab(app).send("stage", "select", detail={"turn": 3, "phrase": 1})
    assert "no longer here" in shown


def test_the_page_calls_nobody_and_offers_no_interface_to_programs(app: str) -> None:
    tab = Tab(app)
    config = tab.config
    assert config["analytics_enabled"] is False
    assert not config.get("footer_links")
    assert tab.http.get("gradio_api/info").json()["named_endpoints"] == {}
    theme = tab.http.get("theme.css").text
    assert not re.search(r"@import|url\(['\"]?(https?:)?//", theme)
