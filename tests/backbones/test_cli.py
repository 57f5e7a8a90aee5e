"""`flmm backbones`: the list, and the check that a user runs before adding a model."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, InstructBlipConfig
from typer.testing import CliRunner

from flmm.backbones import grids, llava, load, tap
from flmm.backbones.lmm import TransformersBackbone
from flmm.cli import app
from flmm.contract.check import noise
from flmm.contract.facts import PHOTOGRAPH, facts
from flmm.errors import InputError, StepError
from tests.tiny_models import BUILDERS

RUN = CliRunner()


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_facts_without_weights_are_those_of_the_loaded_model(family: str, tmp_path: Path) -> None:
    entry = BUILDERS[family](tmp_path)
    found = facts(entry)
    backbone = load(entry, dtype="float32", device="cpu")
    assert found is not None and isinstance(backbone, TransformersBackbone)
    assert found.grids == backbone.encode(noise(*PHOTOGRAPH), "x").grids
    assert found.parameters == sum(parameter.numel() for parameter in backbone.model.parameters())
    assert found.channels == 3 * 4 * len(found.grids)


def test_the_list_has_a_row_for_every_entry_of_the_catalogue() -> None:
    result = RUN.invoke(app, ["backbones"])
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if "shapes-llava" in line)
    assert "1.7 M" in row and "KiB" in row and "16 x 16" in row and " 16 " in row
    absent = next(line for line in result.output.splitlines() if "qwen3-vl-8b" in line)
    assert "not on this machine" in absent


def test_check_passes_for_a_good_model_whose_family_is_found_by_its_type(plain_directory: Path) -> None:
    result = RUN.invoke(app, ["backbones", "check", str(plain_directory)])
    assert result.exit_code == 0, result.output
    assert result.output.count("│ ok") == 11 and "FAILS" not in result.output


def test_a_directory_is_checked_without_any_params_file(
    plain_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = RUN.invoke(app, ["backbones", "check", str(plain_directory)])
    assert result.exit_code == 0, result.output
    unknown = RUN.invoke(app, ["backbones", "check", "nothing"]).exception
    assert isinstance(unknown, InputError) and "params.yaml: no such file" in str(unknown)


def test_check_fails_when_the_grid_is_transposed(
    plain_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transposed(*args: object) -> torch.Tensor:
        places = grids.image_columns(*args)  # type: ignore[arg-type]
        return places.reshape(6, 6).T.flatten()

    monkeypatch.setattr(llava, "image_columns", transposed)
    result = RUN.invoke(app, ["backbones", "check", str(plain_directory)])
    assert isinstance(result.exception, StepError)
    assert "does not keep the contract: geometry 96 x 192" in str(result.exception)


def test_check_fails_when_the_maps_are_wrong(plain_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = tap._read
    monkeypatch.setattr(tap, "_read", lambda *args, **kwargs: right(*args, **kwargs) + 1e-3)
    result = RUN.invoke(app, ["backbones", "check", str(plain_directory)])
    assert isinstance(result.exception, StepError)
    assert "does not keep the contract: attention behind a shared prompt" in str(result.exception)
    assert "FAILS" in result.output


def test_what_cannot_be_checked_is_refused_with_a_sentence(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    refused = RUN.invoke(app, ["backbones", "check", str(tmp_path)]).exception
    assert isinstance(refused, InputError) and "no family reads a 'bert' model" in str(refused)
    InstructBlipConfig().save_pretrained(tmp_path)
    resampled = RUN.invoke(app, ["backbones", "check", str(tmp_path)]).exception
    assert isinstance(resampled, InputError) and "without a 2-D grid" in str(resampled)
    unknown = RUN.invoke(app, ["backbones", "check", "nothing"]).exception
    assert isinstance(unknown, InputError) and "no catalogue entry, no directory, and no hub name" in str(
        unknown
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of my own"}))
    broken = RUN.invoke(app, ["backbones", "check", str(tmp_path)]).exception
    assert isinstance(broken, InputError) and "name its --family" in str(broken)


def test_listing_reads_no_weight(tmp_path: Path) -> None:
    entry = BUILDERS["llava"](tmp_path)
    (tmp_path / "model.safetensors").unlink()
    found = facts(entry)
    assert found is not None and found.parameters > 0
    assert torch.get_default_device().type == "cpu"
