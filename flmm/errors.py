"""The two errors that a user meets; the CLI prints their message on one line and never a traceback."""


class InputError(Exception):
    """What the user gave cannot be used: a file, a params key, a name. Exit code 2."""


class StepError(Exception):
    """A step failed on good input: a full disk, a dead server, a process that was killed. Exit code 1."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not empty, or else its type's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class SecondPictureError(InputError):
    """A model cannot take another picture into its prompt: its family reads one, or its context is too short."""
