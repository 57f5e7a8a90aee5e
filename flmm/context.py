"""What every command of `flmm` needs: the checked params, and a backbone's name that they know."""

from pathlib import Path
from typing import Annotated

import typer

from flmm.errors import InputError
from flmm.params import Params, load_params

BackboneName = Annotated[str, typer.Option("--backbone", help="A name of params.yaml's `backbones`.")]


def params_path(context: typer.Context) -> Path:
    """The file that `--params` names."""
    path: Path = context.find_root().obj
    return path


def params_of(context: typer.Context) -> Params:
    """The checked content of that file."""
    return load_params(params_path(context))


def check_backbone(params: Params, backbone: str) -> None:
    """Raises:
    InputError: params.yaml does not run this backbone (lists those that it does).
    """
    if backbone not in params.backbones:
        raise InputError(f"unknown backbone {backbone!r}; params.yaml runs: {', '.join(params.backbones)}")
