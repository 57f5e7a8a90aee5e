"""Which accelerator a step runs on."""

import torch

from flmm.errors import InputError


def resolve_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or ``auto``: the GPU where there is one.

    Raises:
        InputError: ``cuda`` was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise InputError("device: cuda, but no GPU is available; set it to auto or cpu in params.yaml")
    return torch.device(name)
