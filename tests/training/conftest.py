"""A training set of ten tiny images, made once; runs of it are cheap."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from flmm.training import train
from flmm.training.progress import OnStep

from .synthetic import BACKBONE, KEY, make_params, write_sam, write_training_set

Run = Callable[..., Path]


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Attention manifest, embedding manifest, SAM directory."""
    folder = tmp_path_factory.mktemp("training")
    manifest, embeddings = write_training_set(folder, images=10)
    return manifest, embeddings, write_sam(folder / "sam")


@pytest.fixture
def run(training_set: tuple[Path, Path, Path]) -> Run:
    """``run(out, on_step=…, key=…, lr=…)`` trains with changed ``train`` values and returns ``out``."""
    manifest, embeddings, sam = training_set

    def _run(out: Path, on_step: OnStep | None = None, key: str = KEY, **values: Any) -> Path:
        params, checkpoints = make_params(sam, **values), out / "checkpoints"
        train(
            params,
            BACKBONE,
            [manifest],
            [embeddings],
            out,
            key=key,
            checkpoints=checkpoints,
            raw=out,
            on_step=on_step,
        )
        return out

    return _run


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps its precision in a singleton; each test is a new process to it."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
