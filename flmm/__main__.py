"""``python -m flmm``: the same as the command ``flmm``."""

from flmm.cli import main

main()
