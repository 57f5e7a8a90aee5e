"""`flmm chat`: a grounded conversation in a terminal, or line by line for programs."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from flmm.colours import colour
from flmm.conversation import Conversation, Turn
from flmm.errors import InputError, StepError
from flmm.grounded import facts, save
from flmm.predictor import Grounder, Picture

IMAGE, QUIT = "/image", "/quit"
HELP = (
    f"{IMAGE} PATH: another picture, from the beginning; Ctrl-C: stop an answer; {QUIT} or Ctrl-D: the end."
)


class Chat:
    """One user's conversation; ``folder``: where each turn is saved; ``as_json``: an object per turn on stdout."""

    def __init__(
        self, grounder: Grounder, picture: Picture, console: Console, *, folder: Path | None, as_json: bool
    ) -> None:
        self._grounder, self._console = grounder, console
        self._folder, self._as_json = folder, as_json
        self._saved = 0
        self._conversation = grounder.converse(picture)

    def take(self, line: str) -> None:
        """A question, or a command.

        Raises:
            InputError: it cannot be answered; the conversation is as it was.
            StepError: the masks are not finite, or a file cannot be written.
        """
        if line.startswith("/"):
            command, _, rest = line.partition(" ")
            if command != IMAGE or not rest.strip():
                raise InputError(f"{line}: not a command; {HELP}")
            self._conversation = self._grounder.converse(rest.strip())
            return
        self._ask(line)

    def take_all(self, lines: Iterable[str]) -> None:
        """Line after line; what cannot be answered is said, and the conversation goes on."""
        for line in lines:
            if line.strip() == QUIT:
                return
            try:
                self.take(line.strip())
            except (InputError, StepError) as error:
                if self._as_json:
                    self._print({"question": line.strip(), "error": str(error)})
                else:
                    self._console.print(f"error: {error}", style="red", markup=False, highlight=False)
            except KeyboardInterrupt:
                if self._as_json or not sys.stdin.isatty():
                    raise
                self._console.print("stopped; the question does not count", style="dim")

    def _ask(self, question: str) -> None:
        if self._as_json:
            for _ in self._conversation.ask(question):
                pass
        else:
            with Live(Text(), console=self._console, auto_refresh=False) as live:
                said = Text()
                for piece in self._conversation.ask(question):
                    live.update(said.append(piece), refresh=True)
                live.update(coloured(self._conversation.turns[-1]), refresh=True)
        turn = self._conversation.turns[-1]
        phrases = facts(turn.answered.grounded, turn.answered.spans)
        told = {"question": question, "answer": turn.answered.text, "phrases": phrases}
        if self._as_json:
            self._print(told)
        else:
            self._legend(phrases)
        if self._folder is not None:
            self._saved += 1
            stem = f"turn-{self._saved}"
            path = save(self._conversation.picture, turn.answered.grounded, told, self._folder, stem)
            if not self._as_json:
                self._console.print(f"saved: {path}", style="dim", markup=False, highlight=False)

    def _legend(self, phrases: list[dict[str, Any]]) -> None:
        for number, each in enumerate(phrases):
            line = Text.assemble(
                (f"  {number + 1} {each['phrase']}", _style(number)),
                f"  score {each['score']:.2f}  box {tuple(each['box'])}  {each['pixels']} pixels",
            )
            self._console.print(line)

    @staticmethod
    def _print(content: dict[str, Any]) -> None:
        print(json.dumps(content, ensure_ascii=False), flush=True)

    @property
    def conversation(self) -> Conversation:
        """The present one."""
        return self._conversation


def coloured(turn: Turn) -> Text:
    """The answer with each grounded phrase in the colour of its mask."""
    text = Text(turn.answered.text)
    for number, (start, end) in enumerate(turn.answered.spans):
        text.stylize(_style(number), start, end)
    return text


def _style(number: int) -> str:
    red, green, blue = colour(number)
    return f"bold rgb({red},{green},{blue})"


def typed(console: Console) -> Iterator[str]:
    """Lines of a person until Ctrl-D, or of a file or a program."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    console.print(HELP, style="dim", highlight=False)
    while True:
        try:
            yield console.input("> ")
        except EOFError:
            return
