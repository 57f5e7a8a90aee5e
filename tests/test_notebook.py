"""The tour is code like any other: stripped in git, its imports exist, and it runs on a finished run."""

import ast
import importlib
import os
from pathlib import Path

import nbformat
import pytest

PROJECT = Path(__file__).parents[1]
TOUR = PROJECT / "notebooks" / "01_tour.ipynb"
# A folder with params.yaml, results/ and the rest of a finished run; .ci/run has one in place.
RUN = Path(os.environ.get("FLMM_RUN", PROJECT))


def cells() -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_stripped() -> None:
    assert all(not cell.outputs and cell.execution_count is None for cell in cells())


def test_every_name_that_the_tour_imports_from_the_package_exists() -> None:
    source = "\n".join(
        line for cell in cells() for line in cell.source.splitlines() if not line.startswith("%")
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
def test_the_tour_runs_from_end_to_end() -> None:
    if not list(RUN.glob("results/*/*/train/head.safetensors")) or not (RUN / "mlflow.db").exists():
        pytest.skip(f"no finished run in {RUN}: `make reproduce` first, or set FLMM_RUN")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(TOUR, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(RUN)}}).execute()
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4
