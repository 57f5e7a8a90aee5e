"""The page: its parts, and what happens when one of them is used."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from PIL import Image

from flmm.app import markup
from flmm.app.export import archive, in_text
from flmm.app.models import WAITING, Models
from flmm.app.sessions import ANSWER_TOKENS, Session, Sessions
from flmm.app.shown import stage
from flmm.app.uploads import MAX_MEGABYTES, MAX_MEGAPIXELS, SIDE, read_upload
from flmm.errors import InputError, StepError

STATIC = Path(__file__).parent / "static"
_STAGE = """
<canvas role="img" aria-label="The picture"></canvas>
<p class="caption" aria-live="polite"></p>
<label class="blend"><span>coarse</span>
<input type="range" min="0" max="100" value="100" aria-label="From the coarse mask to the refined one">
<span>refined</span></label>
"""
_PICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("select", { index: Number(button.dataset.index) });
});
"""
# The file is made in the browser from text: nothing of it is written on the server.
_SAVE = """
(content) => {
  if (!content) return "";
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/zip" }));
  link.download = "flmm-conversation.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return "";
}
"""
_TITLE = """
# Talk about a picture, see where the words are
A frozen multimodal model answers; its own attention, read while it speaks, becomes a mask for every phrase.
"""
_FAILED = (
    "The model failed while it answered; the log of the app says why. Ask again, or choose another model."
)
_NOTE = f"""
Pictures may have {MAX_MEGABYTES} MB and {MAX_MEGAPIXELS} megapixels and are made smaller to {SIDE} pixels. They stay
in the memory of the machine that runs this page until the tab is closed, and are not stored.
Answers end after {ANSWER_TOKENS} tokens.
"""
QUESTIONS = {
    "Describe the picture": "Describe the image.",
    "What is at the top?": "What is at the top of the image?",
    "Is there a blue star?": "Is there a blue star in the image?",
}


class Page:
    """The handlers: each takes what the page sends and the request, and finds the session by it."""

    def __init__(self, models: Models, pictures: list[Image.Image], uploads: Path) -> None:
        self.models, self.pictures, self.uploads = models, pictures, uploads
        self.sessions = Sessions(models.names[0], pictures[0])

    def session(self, request: gr.Request) -> Session:
        return self.sessions.of(str(request.session_hash))

    def upload(self, file: str | None, request: gr.Request) -> list[Any]:
        """A picture from outside; the file is deleted at once."""
        session = self.session(request)
        if not file:
            return self._everything(session)
        try:
            session.begin(read_upload(Path(file), self.uploads))
        except InputError as error:
            return self._everything(session, str(error))
        return self._everything(session)

    def example(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        """One of the pictures that come with the app."""
        session = self.session(request)
        index = event.index
        if isinstance(index, int) and 0 <= index < len(self.pictures):
            session.begin(self.pictures[index])
        return self._everything(session)

    def choose(self, model: str, request: gr.Request) -> list[Any]:
        """Another model: the conversation begins again, about the same picture."""
        session = self.session(request)
        session.begin(session.picture, model)
        return self._everything(session)

    def again(self, request: gr.Request) -> list[Any]:
        """The conversation begins again."""
        session = self.session(request)
        session.begin(session.picture)
        return self._everything(session)

    def ask(self, question: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Yields the talk, the stage, what went wrong, and what remains in the question's box."""
        session = self.session(request)
        question = question or ""
        yield markup.talk(session.turns, question), gr.skip(), "", ""
        try:
            for text in session.ask(question, self.models):
                yield markup.talk(session.turns, question, text), gr.skip(), "", ""
        except (InputError, StepError) as error:
            yield markup.talk(session.turns), gr.skip(), markup.notice(str(error)), question
            return
        except Exception:  # a model that broke down must not leave a person waiting
            logging.getLogger(__name__).exception("an answer failed")
            yield markup.talk(session.turns), gr.skip(), markup.notice(_FAILED), question
            return
        yield markup.talk(session.turns), stage(session.picture, session.turns), "", ""

    def attention(self, event: gr.EventData, request: gr.Request) -> Any:
        """The heads behind a phrase that was clicked."""
        session = self.session(request)
        try:
            turn, index = session.phrase(int(event.turn), int(event.phrase))
        except InputError as error:
            return markup.notice(str(error))
        phrase = turn.phrases[index]
        assert session.picture is not None  # there are no phrases without one
        return markup.attention(phrase.text, session.picture, phrase.heads)

    def export(self, request: gr.Request) -> tuple[str, str]:
        """A zip as base64, and what went wrong."""
        session = self.session(request)
        try:
            return in_text(archive(session)), ""
        except InputError as error:
            return "", markup.notice(str(error))

    def close(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.sessions.drop(str(request.session_hash))

    def _everything(self, session: Session, message: str = "") -> list[Any]:
        """Stage, talk, notice, an empty file button and no attention: after a change of picture or model."""
        return [
            stage(session.picture, session.turns),
            markup.talk(session.turns),
            markup.notice(message),
            None,
            markup.NO_PHRASE,
        ]


def build(models: Models, pictures: list[Image.Image], uploads: Path) -> gr.Blocks:
    """The page, ready to be launched; ``uploads`` is the folder into which Gradio puts what is uploaded."""
    page, parts = Page(models, pictures, uploads), SimpleNamespace()
    with gr.Blocks(title="F-LMM", analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.Markdown(_TITLE, elem_id="title")
        with gr.Row():
            with gr.Column(scale=6, min_width=280):
                _picture_side(page, parts)
            with gr.Column(scale=5, min_width=280):
                _talk_side(parts)
        with gr.Accordion("The attention behind a phrase", open=True):
            parts.heads = gr.HTML(markup.NO_PHRASE, js_on_load=None, elem_id="heads")
        gr.Markdown(_NOTE, elem_classes="small")
        parts.content = gr.Textbox(visible="hidden", elem_id="content")
        _wire(page, parts)
        blocks.unload(page.close)
    return blocks


def _picture_side(page: Page, parts: SimpleNamespace) -> None:
    names = page.models.names
    with gr.Row(elem_id="choices"):
        parts.upload = gr.UploadButton("Upload a picture", variant="primary", elem_id="upload", min_width=120)
        parts.model = gr.Dropdown(
            names, value=names[0], show_label=False, label="Model", elem_id="model", min_width=120
        )
    buttons = markup.example_buttons(page.pictures)
    parts.examples = gr.HTML(buttons, js_on_load=_PICK, elem_id="examples")
    parts.canvas = gr.HTML(
        stage(page.pictures[0], []),
        html_template=_STAGE,
        js_on_load=(STATIC / "stage.js").read_text(encoding="utf-8"),
        elem_id="stage",
    )


def _talk_side(parts: SimpleNamespace) -> None:
    parts.talk = gr.HTML(markup.talk([]), js_on_load=None, elem_id="talk", max_height=520, autoscroll=True)
    parts.notice = gr.HTML("", js_on_load=None, elem_id="notice")
    parts.question = gr.Textbox(
        placeholder="Ask about the picture",
        show_label=False,
        label="Question",
        lines=1,
        max_lines=5,
        submit_btn="Ask",
        elem_id="question",
    )
    with gr.Row(elem_id="suggestions"):
        parts.suggestions = [
            (gr.Button(label, size="sm", min_width=100), text) for label, text in QUESTIONS.items()
        ]
    with gr.Row():
        parts.again = gr.Button("New conversation", size="sm", min_width=100)
        parts.export = gr.Button("Export (zip)", size="sm", min_width=100, elem_id="export")


def _wire(page: Page, parts: SimpleNamespace) -> None:
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    everything = [parts.canvas, parts.talk, parts.notice, parts.upload, parts.heads]
    parts.upload.upload(page.upload, parts.upload, everything, **quick)
    parts.examples.select(page.example, None, everything, **quick)
    parts.model.input(page.choose, parts.model, everything, **quick)
    parts.again.click(page.again, None, everything, **quick)
    parts.canvas.select(page.attention, None, parts.heads, **quick)
    parts.export.click(page.export, None, [parts.content, parts.notice], **quick).then(
        None, parts.content, parts.content, js=_SAVE, api_visibility="private"
    )
    # More than may wait, so that it is the app that refuses, in words (flmm.app.models).
    asking = {**quick, "concurrency_limit": WAITING + 8, "concurrency_id": "ask"}
    answers = [parts.talk, parts.canvas, parts.notice, parts.question]
    parts.question.submit(page.ask, parts.question, answers, **asking)
    for button, text in parts.suggestions:
        button.click(_asks(page, text), None, answers, **asking)


def _asks(page: Page, question: str) -> Callable[[gr.Request], Iterator[tuple[Any, ...]]]:
    def ask(request: gr.Request) -> Iterator[tuple[Any, ...]]:
        yield from page.ask(question, request)

    return ask
