"""MGM's published layout: every key has a place, and image tokens are what the paper's section 3.2 computes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import GemmaForCausalLM, LlamaForCausalLM

from flmm.backbones import load
from flmm.backbones.mgm import MGM
from flmm.backbones.parts import part_weights
from flmm.contract.check import CHECKS, noise
from flmm.contract.facts import facts
from flmm.errors import InputError
from tests.families.mgm import PATCH, SIDE, build, clip, convnext, mining
from tests.tiny_parts import entry

PATCHES = SIDE // PATCH


@pytest.fixture(scope="module")
def high(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MGM-HD."""
    return Path(build(tmp_path_factory.mktemp("mgm-hd"), key_heads=2).model)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MGM without tiles, with Gemma."""
    return Path(build(tmp_path_factory.mktemp("mgm"), tiles=1, gemma=True).model)


@pytest.fixture
def copy(high: Path, tmp_path: Path) -> Path:
    """A directory to damage."""
    return Path(shutil.copytree(high, tmp_path / "model"))


def loaded(folder: Path) -> MGM:
    backbone = load(entry(folder, "mgm"), dtype="float32", device="cpu")
    assert isinstance(backbone, MGM)
    return backbone


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder)
    return str(caught.value)


def mined(patches: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """Patch by patch: patches (n * n, D), the auxiliary map (A, s, s) of the same square."""
    weights = mining()

    def projected(name: str, values: torch.Tensor) -> torch.Tensor:
        prefix = f"model.vlm_uni_{name}_projector"
        norm = functional.layer_norm(
            values, values.shape[-1:], weights[f"{prefix}.0.weight"], weights[f"{prefix}.0.bias"]
        )
        return norm @ weights[f"{prefix}.1.weight"].T + weights[f"{prefix}.1.bias"]

    side, result = fine.shape[-1] // PATCHES, []
    for place, patch in enumerate(patches):
        row, column = divmod(place, PATCHES)
        cell = fine[:, row * side : (row + 1) * side, column * side : (column + 1) * side].flatten(1).T
        scores = projected("aux", cell) @ projected("query", patch) / patch.shape[0] ** 0.5
        result.append(patch + scores.softmax(0) @ projected("val", cell))
    return torch.stack(result)


def patches_of(view: torch.Tensor) -> torch.Tensor:
    """The last CLIP layer but one, without the class."""
    return clip()(view[None], output_hidden_states=True).hidden_states[-2][0, 1:]


def fine_map(picture: torch.Tensor) -> torch.Tensor:
    """The stages of the ConvNeXt at the first one's size."""
    stages = convnext()(picture[None], output_hidden_states=True).hidden_states[1:]
    side = stages[0].shape[-1]
    return torch.cat(
        [functional.interpolate(stage, size=(side, side), mode="bilinear")[0] for stage in stages]
    )


def spoken(tokens: torch.Tensor) -> torch.Tensor:
    """Through the projector."""
    weights = mining()
    hidden = functional.gelu(
        tokens @ weights["model.mm_projector.0.weight"].T + weights["model.mm_projector.0.bias"]
    )
    return hidden @ weights["model.mm_projector.2.weight"].T + weights["model.mm_projector.2.bias"]


@torch.no_grad()
def test_image_tokens_are_patch_info_mining_as_the_paper_computes_it(high: Path) -> None:
    backbone = loaded(high)
    pixels = backbone.encode(noise(70, 90), "x").inputs["pixel_values"]
    assert pixels.shape == (1, 3, 4 * SIDE, 4 * SIDE)
    picture = functional.interpolate(pixels, size=(2 * SIDE, 2 * SIDE), mode="bilinear")
    fine = fine_map(pixels[0])
    whole = functional.interpolate(picture, size=(SIDE, SIDE), mode="bilinear")[0]
    expected = [
        mined(patches_of(whole), functional.interpolate(fine[None], scale_factor=0.5, mode="bilinear")[0])
    ]
    half = fine.shape[-1] // 2
    for row in (0, 1):
        for column in (0, 1):
            tile = picture[0, :, row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            part = fine[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
            expected.append(mined(patches_of(tile), part))
    found = backbone.model.get_image_features(pixel_values=pixels).pooler_output[0]
    assert torch.allclose(found, spoken(torch.cat(expected)), atol=1e-4)


@torch.no_grad()
def test_gemma_scales_image_tokens_with_its_words(small: Path) -> None:
    """As the Gemma of MGM's days did, which multiplied all that it was given."""
    backbone = loaded(small)
    pixels = backbone.encode(noise(70, 90), "x").inputs["pixel_values"]
    view = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear")[0]
    found = backbone.model.get_image_features(pixel_values=pixels).pooler_output[0]
    assert torch.allclose(found, spoken(mined(patches_of(view), fine_map(pixels[0]))) * 32**0.5, atol=1e-3)


@pytest.mark.parametrize("folder", ["high", "small"])
@torch.no_grad()
def test_the_language_model_is_the_one_that_was_saved(folder: str, request: pytest.FixtureRequest) -> None:
    backbone = loaded(request.getfixturevalue(folder))
    torch.manual_seed(3)
    kind = GemmaForCausalLM if folder == "small" else LlamaForCausalLM
    original = kind(backbone.model.config.text_config).eval()
    tokens = torch.tensor([[1, 40, 50, 60, 70]])
    assert torch.allclose(backbone.model(input_ids=tokens).logits, original(tokens).logits, atol=1e-5)


@pytest.mark.parametrize("measure", [*CHECKS.values()], ids=[*CHECKS])
def test_one_grid_and_gemma_keep_the_contract(small: Path, measure: Any) -> None:
    finding = measure(loaded(small), noise(40, 60))
    assert finding.holds, finding


def test_one_grid_without_tiles_two_with_them(high: Path, small: Path) -> None:
    assert [(grid.name, grid.rows) for grid in loaded(high).encode(noise(40, 60), "x").grids] == [
        ("coarse", PATCHES),
        ("fine", 2 * PATCHES),
    ]
    assert [(grid.name, grid.rows) for grid in loaded(small).encode(noise(40, 60), "x").grids] == [
        ("image", PATCHES)
    ]


def test_a_text_that_holds_the_pictures_token_is_refused(small: Path) -> None:
    with pytest.raises(InputError, match="'a <unk> b' holds <unk>, which stands for the picture"):
        loaded(small).encode(noise(40, 60), "a <unk> b")


def test_facts_are_told_without_weights(copy: Path) -> None:
    expected = sum(parameter.numel() for parameter in loaded(copy).model.parameters())
    (copy / "model.safetensors").unlink()
    found = facts(entry(copy, "mgm"))
    assert found is not None
    assert (found.parameters, found.channels, len(found.grids)) == (expected, 24, 2)


def test_keys_left_over_and_absent_are_named(copy: Path) -> None:
    file = copy / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {"model.vlm_uni_extra.weight": torch.zeros(1)}, file)
    assert "1 weights have no place in this family, such as ./model.vlm_uni_extra.weight" in refused(copy)
    gone = {key: value for key, value in weights.items() if "vision_stages.2.blocks.1.gamma" not in key}
    assert len(gone) == len(weights) - 1
    save_file(gone, file)
    assert "such as model.auxiliary.stages.2.layers.1.layer_scale_parameter" in refused(copy)


def test_a_hub_name_is_fetched_as_what_it_consists_of(high: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetched(source: str, **options: Any) -> str:
        asked[source] = options
        return str(high)

    monkeypatch.setattr("flmm.backbones.parts.snapshot_download", fetched)
    weights = part_weights("owner/model", ["."], {"revision": "abc"})
    assert weights.keys() == {f"./{key}" for key in load_file(high / "model.safetensors")}
    assert asked == {
        "owner/model": {"revision": "abc", "allow_patterns": ["*.safetensors", "*.safetensors.index.json"]}
    }


def test_another_model_type_projector_or_encoder_is_refused(copy: Path) -> None:
    settings = json.loads((copy / "config.json").read_text())
    for change, said in (
        ({"model_type": "mgm_mixtral"}, "model_type is 'mgm_mixtral', but family 'mgm' reads mgm, mgm_gemma"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is not 'mlp2x_gelu'"),
        ({"mm_vision_tower_aux": "zoo/eva"}, "mm_vision_tower_aux 'zoo/eva' is none of convnext-large"),
    ):
        (copy / "config.json").write_text(json.dumps(settings | change))
        assert said in refused(copy)
