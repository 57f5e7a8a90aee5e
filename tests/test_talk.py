"""`flmm ground` and `flmm chat`: right after installation, saved, for programs, and with bad input."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from flmm import Grounder
from flmm.chat import Chat
from flmm.cli import app
from flmm.data.sample import decode_rle
from flmm.errors import InputError
from flmm.shapes.world.scenes import make_scene

TOP = "What is at the top of the image?"
SHORT = "Answer the question using a single word or phrase."


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(make_scene(12).image).save(path)
    return path


def flmm(*words: str, typed: str = "") -> str:
    result = CliRunner().invoke(app, words, input=typed, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_ground_says_where_each_phrase_is(picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    said = json.loads(
        flmm("ground", str(picture), "the white star", "the green circle", "--json", "--save", str(folder))
    )
    star, circle = said["phrases"]
    scene = make_scene(12)
    (thing,) = (thing for thing in scene.things if thing.name == "white star")
    mask = decode_rle(star["segmentation"]["counts"], *star["segmentation"]["size"])
    assert (mask & thing.mask).sum() / (mask | thing.mask).sum() > 0.5
    assert star["pixels"] == mask.sum() and circle["pixels"] > 2000
    x0, y0, x1, y1 = star["box"]
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    kept = np.asarray(Image.open(folder / "scene-mask-1.png")) > 0
    assert np.array_equal(kept, mask)
    changed = np.asarray(Image.open(folder / "scene-overlay.png")) != scene.image
    assert changed.any(axis=2)[mask].mean() > 0.9
    assert json.loads((folder / "scene.json").read_text()) == said


def test_ground_prints_a_table(picture: Path) -> None:
    said = flmm("ground", str(picture), "the white star")
    assert "phrase" in said and "the white star" in said and "pixels" in said


def test_a_chat_for_programs_goes_on_after_what_cannot_be_answered(picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(make_scene(11).image).save(other)
    (tmp_path / "no.png").write_text("no picture")
    asked = [
        TOP,
        "",
        "why " * 3000,
        f"/image {tmp_path / 'no.png'}",
        "/nonsense",
        TOP,
        f"/image {other}",
        TOP,
    ]
    lines = flmm("chat", str(picture), "--json", typed="\n".join([*asked, "/quit", TOP]))
    first, empty, long, damaged, unknown, again, elsewhere = map(json.loads, lines.splitlines())
    assert "sky" in first["answer"] and "answer" in again
    assert elsewhere["answer"] != first["answer"]  # another picture, another conversation
    for number, each in enumerate(first["phrases"]):
        start, end = each["span"]
        assert first["answer"][start:end] == each["phrase"], number
    assert "expected a text that asks something" in empty["error"]
    assert "exceed the 2048 positions" in long["error"]
    assert "no.png: not a readable picture" in damaged["error"]
    assert "/image PATH" in unknown["error"]


def test_one_question_is_answered_and_saved(picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    question = f"{TOP}\n{SHORT}"
    said = flmm("chat", str(picture), "--question", question, "--save", str(folder))
    assert said.startswith("sky") and "saved: " in said
    told = json.loads((folder / "turn-1.json").read_text())
    assert told["question"] == question and told["answer"] == "sky"
    assert (folder / "turn-1-overlay.png").is_file()


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounder, said = Grounder.load("shapes-llava", device="cpu"), io.StringIO()
    chat = Chat(grounder, picture, Console(file=said), folder=None, as_json=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    interrupted = iter([True, False])

    def mask(*_: object) -> list[object]:
        if next(interrupted):
            raise KeyboardInterrupt
        return []

    with monkeypatch.context() as patch:
        patch.setattr(grounder, "masks", mask)
        patch.setattr(grounder, "phrases_of", lambda *_: ((), []))
        chat.take_all([TOP, TOP])
    assert "stopped" in said.getvalue() and len(chat.conversation.turns) == 1
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.setattr(grounder, "masks", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # a program is not a person who changed their mind
        chat.take_all([TOP])


def test_without_a_picture_there_is_a_scene_to_talk_about() -> None:
    assert flmm("chat", "--question", f"{TOP}\n{SHORT}").startswith("sand")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ground", "gone.png", "a star"), "gone.png: cannot be read as a picture"),
        (("ground", "text.png", "a star"), "text.png: not a readable picture"),
        (("ground", "large.png", "a star"), "large.png: "),
        (("ground", "scene.png", " "), "phrases: number 1 is ' '"),
        (("chat", "scene.png", "--question", " "), "expected a text that asks something"),
        (("chat", "scene.png", "--head", "broken"), "broken/head.safetensors: "),
        (("chat", "scene.png", "--head", "other"), "was it trained for another backbone?"),
    ],
)
def test_bad_input_is_one_sentence(
    words: tuple[str, ...], sentence: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flmm.shipped import HEADS, MODELS

    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    Image.new("1", (20_000, 15_000)).save("large.png")  # 300 megapixels in a few kilobytes
    Path("broken").mkdir()
    Path("broken/head.safetensors").write_bytes(b"\0" * 100)
    if "other" in words:
        words = (*words[:-1], str(HEADS / "shapes-llava-next"), "--model", str(MODELS / "shapes-llava"))
    with pytest.raises(InputError) as error:
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert sentence in str(error.value) and "\n" not in str(error.value)
