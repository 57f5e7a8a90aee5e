"""Notebooks are code like any other: stripped in git, their imports exist, and they run."""

import ast
import importlib
import os
from pathlib import Path

import nbformat
import pytest

PROJECT = Path(__file__).parents[1]
TOUR = PROJECT / "notebooks" / "01_tour.ipynb"
ATTENTION = PROJECT / "notebooks" / "02_attention.ipynb"
BACKBONES = PROJECT / "notebooks" / "03_backbones.ipynb"
OWN_LMM = PROJECT / "notebooks" / "04_your_own_lmm.ipynb"
every = pytest.mark.parametrize("path", [TOUR, ATTENTION, BACKBONES, OWN_LMM], ids=lambda path: path.stem)
# A folder with params.yaml, results/ and the rest of a finished run; .ci/run has one in place.
RUN = Path(os.environ.get("FLMM_RUN", PROJECT))


def cells(path: Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@every
def test_outputs_are_stripped(path: Path) -> None:
    assert all(not cell.outputs and cell.execution_count is None for cell in cells(path))


@every
def test_every_name_that_it_imports_from_the_package_exists(path: Path) -> None:
    source = "\n".join(
        line for cell in cells(path) for line in cell.source.splitlines() if not line.startswith("%")
    )
    imports = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flmm")
        for alias in node.names
    ]
    assert imports
    for module, name in imports:
        if not hasattr(importlib.import_module(str(module)), name):
            importlib.import_module(f"{module}.{name}")


@pytest.mark.pipeline
@pytest.mark.parametrize(("path", "count"), [(TOUR, 4), (BACKBONES, 1)], ids=["tour", "backbones"])
def test_what_looks_at_a_run_runs_from_end_to_end(path: Path, count: int) -> None:
    if not list(RUN.glob("results/*/*/train/head.safetensors")) or not (RUN / "mlflow.db").exists():
        pytest.skip(f"no finished run in {RUN}: `make reproduce` first, or set FLMM_RUN")
    assert len(pictures(path, RUN)) == count


@pytest.mark.pipeline
@pytest.mark.parametrize(("path", "count"), [(ATTENTION, 3), (OWN_LMM, 2)], ids=["attention", "own"])
def test_the_others_run_without_a_run(path: Path, count: int, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    assert len(pictures(path, tmp_path)) == count


def pictures(path: Path, folder: Path) -> list[nbformat.NotebookNode]:
    """The pictures that a notebook shows when it runs in a folder."""
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=3600, startup_timeout=600, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
