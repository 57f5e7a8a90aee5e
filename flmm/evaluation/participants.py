"""Who takes part in an evaluation: the frozen LMM, and a head that was trained for it."""

from pathlib import Path

from flmm.backbones import load
from flmm.backbones.base import Backbone
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.heads.checkpoint import HeadConfig, read_config
from flmm.params import Params


def frozen(params: Params, backbone: str) -> Backbone:
    """The LMM of a backbone, ready to speak."""
    device = resolve_device(params.evaluate.device, "evaluate.device")
    return load(params.catalogue[backbone], dtype=params.extract.dtype, device=str(device))


def fitting(head: Path, backbone: str) -> HeadConfig:
    """What a head was trained for.

    Raises:
        InputError: its file is absent or damaged, or it was trained for another backbone.
    """
    config = read_config(head)
    if config.backbone != backbone:
        raise InputError(f"{head}: trained for backbone {config.backbone}, not {backbone}")
    return config
