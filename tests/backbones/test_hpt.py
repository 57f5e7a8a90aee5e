"""HPT's published layout: every key has a place, and the model put together computes what its parts compute."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaForCausalLM

from flmm.backbones import load
from flmm.backbones.hpt import HPT, enlarged
from flmm.contract.check import CHECKS, geometry, noise, phrases
from flmm.contract.facts import facts
from flmm.errors import InputError
from tests.families.hpt import VISION, build, build_1_5


@pytest.fixture(scope="module")
def air(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(build(tmp_path_factory.mktemp("hpt"), key_heads=2).model)


@pytest.fixture
def copy(air: Path, tmp_path: Path) -> Path:
    """A directory to damage."""
    return Path(shutil.copytree(air, tmp_path / "model"))


def loaded(folder: Path) -> HPT:
    from tests.tiny_parts import entry

    backbone = load(entry(folder, "hpt"), dtype="float32", device="cpu")
    assert isinstance(backbone, HPT)
    return backbone


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder)
    return str(caught.value)


def change(file: Path, edit: Any) -> None:
    weights = load_file(file)
    edit(weights)
    save_file(weights, file)


def test_the_language_model_is_the_one_that_was_fused(air: Path) -> None:
    """The same seed as the builder's: its LLaMA, before query, key and value went into one matrix."""
    backbone = loaded(air)
    config = backbone.model.config.text_config
    torch.manual_seed(3)
    original = LlamaForCausalLM(config).eval()
    tokens = torch.tensor([[1, 40, 50, 60, 70]])
    with torch.no_grad():
        expected, found = original(tokens).logits, backbone.model(input_ids=tokens).logits
    assert torch.allclose(found, expected, atol=1e-6)


def test_image_tokens_are_the_parts_one_after_the_other(air: Path) -> None:
    """Encoder with enlarged position embeddings, its last hidden layer but one without the class, two linear layers."""
    backbone = loaded(air)
    encoded = backbone.encode(Image.fromarray(np.zeros((30, 50, 3), np.uint8)), "x")
    pixels = encoded.inputs["pixel_values"]
    assert pixels.shape[-2:] == (392, 392)
    weights = {
        key.removeprefix("vision_model."): value
        for key, value in load_file(air / "visual_encoder" / "model.safetensors").items()
    }
    weights.pop("embeddings.position_ids")
    weights["embeddings.position_embedding.weight"] = enlarged(
        weights["embeddings.position_embedding.weight"], 7, 1
    )
    encoder = CLIPVisionModel(CLIPVisionConfig(**{**VISION, "image_size": 392})).eval()
    encoder.load_state_dict(weights)
    layers = load_file(air / "projector" / "model.safetensors")
    with torch.no_grad():
        hidden = encoder(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
        hidden = functional.gelu(functional.linear(hidden, layers["model.0.weight"], layers["model.0.bias"]))
        expected = functional.linear(hidden, layers["model.2.weight"], layers["model.2.bias"])
        found = backbone.model.get_image_features(pixel_values=pixels).pooler_output[0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_enlarging_keeps_the_class_and_what_already_fits() -> None:
    places = torch.randn(17, 3)
    assert torch.equal(enlarged(places, 4, 1), places)
    larger = enlarged(places, 7, 1)
    assert larger.shape == (50, 3) and torch.equal(larger[0], places[0])
    grid = places[1:].reshape(4, 4, 3)
    assert torch.allclose(
        larger[1:].reshape(7, 7, 3)[3, 3], _bicubic(grid), atol=1e-5
    )  # the middle of both grids


def _bicubic(grid: torch.Tensor) -> torch.Tensor:
    """The middle of a 4 x 4 grid by Keys' weights (a = -0.75) half way between two samples."""
    weights = torch.tensor([-0.09375, 0.59375, 0.59375, -0.09375])
    return torch.einsum("i,j,ijd->d", weights, weights, grid)


@pytest.mark.parametrize("measure", [*CHECKS.values()], ids=[*CHECKS])
def test_siglip_and_llama_keep_the_contract(tmp_path: Path, measure: Any) -> None:
    build_1_5(tmp_path)
    backbone = loaded(tmp_path)
    finding = measure(backbone, noise(40, 60))
    assert finding.holds, finding


def test_siglip_and_llama_are_spoken_to_in_their_own_way(tmp_path: Path) -> None:
    build_1_5(tmp_path)
    backbone = loaded(tmp_path)
    (grid,) = backbone.encode(noise(40, 60), "x").grids
    assert (grid.rows, grid.columns) == (8, 8)
    assert backbone.words("Where?").endswith(
        "\nWhere?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    eot = backbone.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert eot in backbone.model.generation_config.eos_token_id
    assert phrases(backbone).holds
    assert geometry(backbone, 40, 60).holds


def test_facts_are_told_without_weights(copy: Path) -> None:
    from tests.tiny_parts import entry

    for file in copy.glob("*/model.safetensors"):
        file.unlink()
    found = facts(entry(copy, "hpt"))
    assert found is not None
    assert (found.channels, found.grids[0].rows, found.grids[0].columns) == (12, 7, 7)


def test_a_key_without_a_place_is_named(copy: Path) -> None:
    change(copy / "projector" / "model.safetensors", lambda w: w.update({"model.4.weight": torch.zeros(2)}))
    assert "1 weights have no place in this family, such as projector/model.4.weight" in refused(copy)


def test_an_absent_key_is_named(copy: Path) -> None:
    change(copy / "llm" / "model.safetensors", lambda w: w.pop("model.layers.1.attention.wo.weight"))
    assert (
        "absent, left over or of another shape, such as model.language_model.layers.1.self_attn.o_proj"
        in refused(copy)
    )


def test_shards_are_found_by_their_index_and_an_absent_one_is_named(copy: Path) -> None:
    folder = copy / "projector"
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file({key: value for key, value in weights.items() if ".0." in key}, folder / "one.safetensors")
    save_file({key: value for key, value in weights.items() if ".2." in key}, folder / "two.safetensors")
    index = {"weight_map": {key: "one.safetensors" if ".0." in key else "two.safetensors" for key in weights}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert (
        loaded(copy).model.model.multi_modal_projector.linear_2.bias.tolist()
        == weights["model.2.bias"].tolist()
    )
    (folder / "two.safetensors").unlink()
    assert "two.safetensors: no such file" in refused(copy)


def test_another_language_model_or_projector_is_refused(copy: Path) -> None:
    settings = json.loads((copy / "llm" / "config.json").read_text())
    (copy / "llm" / "config.json").write_text(json.dumps(settings | {"model_type": "phi"}))
    assert "llm/config.json: model_type is 'phi', but HPT speaks with internlm2, llama" in refused(copy)
    (copy / "llm" / "config.json").write_text(json.dumps(settings))
    (copy / "projector" / "config.json").write_text(json.dumps({"model_type": "projector", "depth": 3}))
    assert "depth is 3, not 2" in refused(copy)


def test_an_ordinary_directory_is_no_hpt(plain_directory: Path) -> None:
    assert str(plain_directory) in refused(plain_directory)
