"""The trained models that ship with the package keep the contract, as `flmm backbones check` measures it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flmm.cli import app
from flmm.params import load_params

PROJECT = Path(__file__).parents[2]
CATALOGUE = load_params(PROJECT / "params.yaml").catalogue
SHIPPED = [name for name, entry in CATALOGUE.items() if entry.suite == "shapes"]


def test_every_shipped_model_has_an_entry_and_is_small() -> None:
    folders = {path.parent for path in (PROJECT / "flmm/shapes/models").glob("*/tokenizer.json")}
    assert {PROJECT / CATALOGUE[name].model for name in SHIPPED} == folders
    for folder in folders:
        assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6, folder


@pytest.mark.pipeline
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_keeps_the_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    result = CliRunner().invoke(app, ["backbones", "check", name])
    assert result.exit_code == 0, result.output
    assert "FAILS" not in result.output
