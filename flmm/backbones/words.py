"""Words and photographs at a model's door: marks in a text are read as words, and a refusal names its cause."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from PIL import Image

from flmm.data.images import photograph_name
from flmm.errors import InputError

T = TypeVar("T")

# What processors raise on a photograph of no use to them, such as one that is a pixel high.
_REFUSALS = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AttributeError)
_SHOWN = 200
_ORDINARY = (64, 48)  # width and height of a photograph that no processor refuses


def special_marks(processor: Any) -> tuple[str, ...]:
    """The texts that a model's tokenizer reads as marks and not as words, longest first.

    Its special tokens, and those for pictures and videos that the processor knows besides (``image_token``).
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    found = {token.content for token in added if token.special}
    found |= set(getattr(tokenizer, "all_special_tokens", ()))
    found |= {value for key, value in vars(processor).items() if key.endswith("_token")}
    return tuple(
        sorted((mark for mark in found if isinstance(mark, str) and mark.strip()), key=len, reverse=True)
    )


def as_words(text: str, marks: Sequence[str], where: str) -> str:
    """The text with a space after the first character of every mark in it: ``< image>`` is words to every tokenizer.

    Raises:
        InputError: a mark cannot be broken so (names ``where``, the text and the mark).
    """
    broken = text
    for _ in range(len(text) + 1):  # a mark of two equal characters may have to be broken several times
        found = next((mark for mark in marks if mark in broken), None)
        if found is None:
            return broken
        broken = broken.replace(found, f"{found[0]} {found[1:]}")
        if len(found) == 1:
            break
    raise InputError(f"{where}: {_short(text)} holds {found!r}, which is no word but a mark of the model")


def read_by(encode: Callable[[Image.Image, str], T], image: Image.Image, text: str, model: str) -> T:
    """What ``encode`` makes of a photograph and a text.

    Raises:
        InputError: it refuses them. The message names the photograph where an ordinary one is taken with the same
            text, the text where another is taken, and else the model.
    """
    try:
        return encode(image, text)
    except InputError as error:
        refusal: Exception = error
    except _REFUSALS as error:
        refusal = error
    said = " ".join(str(refusal).split()) or type(refusal).__name__
    known = isinstance(refusal, InputError)
    said = said if known else f"{model} cannot read it ({said[:_SHOWN]})"
    ordinary = Image.new("RGB", _ORDINARY, (128, 128, 128))
    if _takes(encode, ordinary, text):
        raise InputError(
            f"{photograph_name(image)}: {said}; add it to prepare.exclude to leave it out"
        ) from refusal
    if _takes(encode, ordinary, "x"):
        raise InputError(f"the text {_short(text)}: {said}") from refusal
    if known:
        raise refusal
    raise InputError(f"{model}: its processor fails ({refusal})") from refusal


def _takes(encode: Callable[[Image.Image, str], T], image: Image.Image, text: str) -> bool:
    try:
        encode(image, text)
    except (InputError, *_REFUSALS):
        return False
    return True


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
