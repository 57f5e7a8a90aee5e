"""What would stop a run, found before its first byte."""

from flmm.pipeline.state import State


def preflight(state: State) -> None:
    """Check everything."""
