"""Who talks about which picture: one session per open page, a bounded number of them, none sees another.

A session is found by the key that the web server gives to a page; pictures, answers and masks live in it alone.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from flmm.app.models import Models
from flmm.app.shown import Shown, shown
from flmm.conversation import Conversation
from flmm.errors import InputError

SESSIONS = 8  # conversations that are kept; beyond that the one that was silent longest is forgotten
TURNS = 12  # of one conversation
PHRASES = 40  # of one conversation, all turns together
LONGEST_QUESTION = 20_000  # characters
ANSWER_TOKENS = 96


@dataclass(eq=False)
class Session:
    """One page: the model that was chosen, the picture, and what was said about it."""

    model: str
    picture: Image.Image | None = None
    talk: Conversation | None = None  # begins with the first question
    turns: list[Shown] = field(default_factory=list)

    def begin(self, picture: Image.Image | None, model: str | None = None) -> None:
        """A new conversation about a picture; the old one is gone."""
        self.picture, self.model = picture, model or self.model
        self.talk, self.turns = None, []

    def phrase(self, turn: int, phrase: int) -> tuple[Shown, int]:
        """A phrase of an answer, by numbers from the page.

        Raises:
            InputError: there is none.
        """
        if not (0 <= turn < len(self.turns) and 0 <= phrase < len(self.turns[turn].phrases)):
            raise InputError("That answer is no longer here; ask again.")
        return self.turns[turn], phrase

    def ask(self, question: str, models: Models) -> Iterator[str]:
        """The answer so far, again and again until it is whole; then ``turns`` has one more.

        Raises:
            InputError: no picture, an empty or too long question, a conversation that is full, a busy app.
        """
        picture = self._check(question)
        yield from models.stream(lambda: self._answer(picture, question, models))

    def _check(self, question: str) -> Image.Image:
        if self.picture is None:
            raise InputError(
                f"This conversation is no longer here: only the latest {SESSIONS} are kept. "
                "Choose or upload the picture again."
            )
        if not question.strip():
            raise InputError("The question is empty; type something about the picture.")
        if len(question) > LONGEST_QUESTION:
            raise InputError(
                f"The question has {len(question)} characters; at most {LONGEST_QUESTION} can be read."
            )
        if len(self.turns) >= TURNS or sum(len(turn.phrases) for turn in self.turns) >= PHRASES:
            raise InputError("This conversation has become too long to keep; begin a new one.")
        return self.picture

    def _answer(self, picture: Image.Image, question: str, models: Models) -> Iterator[str]:
        """In the models' thread. What has been said about a picture that is no longer chosen is dropped."""
        if self.picture is not picture:
            raise InputError("The picture was changed while the question waited; ask again.")
        grounder = models.get(self.model)
        if self.talk is None:
            self.talk = grounder.converse(picture)
        talk, text = self.talk, ""
        for piece in talk.ask(question, max_new_tokens=ANSWER_TOKENS):
            text += piece
            yield text
        turn = talk.turns.pop()  # its hidden states and logits are much larger than what is kept
        if self.talk is talk:
            self.turns.append(shown(turn))


class Sessions:
    """The sessions by key; safe to use from several threads."""

    def __init__(self, model: str, picture: Image.Image) -> None:
        """A new page begins with that model and that picture."""
        self._model, self._picture = model, picture
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._forgotten: deque[str] = deque(maxlen=1000)  # keys of pages that may still be open
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, key: str) -> Session:
        """The session of a page, a new one if there is none; the one that was silent longest may have to go.

        A page whose session had to go gets one without a picture: its old one is not known any more.
        """
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = Session(self._model, None if key in self._forgotten else self._picture)
            self._sessions.move_to_end(key)
            while len(self._sessions) > SESSIONS:
                gone, _ = self._sessions.popitem(last=False)
                self._forgotten.append(gone)
            return self._sessions[key]

    def drop(self, key: str) -> None:
        """Forget a page that was closed."""
        with self._lock:
            self._sessions.pop(key, None)
