"""Loading: what cannot be used is refused with a sentence that says what and why."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, InstructBlipConfig

from flmm.backbones import load
from flmm.backbones.processors import complete
from flmm.backbones.registry import families
from flmm.contract.check import check
from flmm.contract.findings import noise
from flmm.errors import InputError
from flmm.params import BackboneEntry
from tests.tiny_models import BUILDERS


def entry(model: Path | str, family: str = "llava") -> BackboneEntry:
    return BackboneEntry(
        suite="shapes", family=family, model=str(model), revision=None, trust_remote_code=False
    )


@pytest.fixture
def copy(plain_directory: Path, tmp_path: Path) -> Path:
    """A directory to damage."""
    return Path(shutil.copytree(plain_directory, tmp_path / "model"))


def refused(model: Path | str, family: str = "llava") -> str:
    with pytest.raises(InputError) as caught:
        load(entry(model, family), dtype="float32", device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_family_has_a_tiny_model_for_the_contract_test() -> None:
    assert families() == sorted(BUILDERS)


@pytest.mark.parametrize("family", ["flamingo", "../llava", "tap", "llava.x", ""])
def test_an_unknown_family_lists_the_known_ones(plain_directory: Path, family: str) -> None:
    assert f"unknown backbone family {family!r}; known: " in refused(plain_directory, family)
    assert "llava" in refused(plain_directory, family).split("known: ")[1]


def test_a_missing_directory_is_named() -> None:
    assert (
        refused("models/of/mine")
        == "models/of/mine: no such model directory (a hub name has the form owner/name)"
    )


def test_a_directory_without_config_is_no_model(tmp_path: Path) -> None:
    assert "not a model directory (no config.json)" in refused(tmp_path)


def test_damaged_config_and_weights_are_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert str(copy) in refused(copy)
    (copy / "config.json").write_text("{")
    assert str(copy) in refused(copy)


def test_an_absent_weight_is_an_error_and_not_random(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    gone = sorted(name for name in tensors if "linear_1" in name)
    for name in gone:
        tensors.pop(name)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert (
        "2 weights are absent, left over or of another shape, such as model.multi_modal_projector.linear_1"
        in refused(copy)
    )


def test_a_model_of_another_type_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    assert "is a 'bert' model, but family 'llava' reads llava" in refused(tmp_path)


def test_a_query_former_is_refused_with_the_reason(tmp_path: Path) -> None:
    InstructBlipConfig().save_pretrained(tmp_path)
    message = refused(tmp_path)
    assert "qformer_config" in message and "keeps no 2-D grid and cannot be grounded" in message


def test_image_tokens_that_are_no_grid_are_refused(copy: Path) -> None:
    config = json.loads((copy / "processor_config.json").read_text())
    config["num_additional_image_tokens"] = 3
    (copy / "processor_config.json").write_text(json.dumps(config))
    backbone = load(entry(copy), dtype="float32", device="cpu")
    from PIL import Image

    with pytest.raises(InputError, match="its 38 image tokens are not a 6 x 6 grid"):
        backbone.generate(Image.new("RGB", (8, 8)), "x", max_new_tokens=1, tap=False)


COUNTS = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens", "num_image_tokens")


@pytest.mark.parametrize("family", ["llava", "llava_next", "llava_onevision", "deepseek_vl"])
def test_what_an_old_processor_lacks_is_taken_from_the_configuration(tmp_path: Path, family: str) -> None:
    built = BUILDERS[family](tmp_path)
    whole = load(built, dtype="float32", device="cpu")
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    lacking = [key for key in COUNTS if key in saved]
    assert lacking
    if family == "deepseek_vl":  # its class has a default of its own
        lacking = []
    for gone in ([key] for key in lacking):
        kept = {key: value for key, value in saved.items() if key not in gone}
        (tmp_path / "processor_config.json").write_text(json.dumps(kept))
        old = load(built, dtype="float32", device="cpu")
        assert old.processor_hash() == whole.processor_hash()
        seen = [backbone.encode(noise(40, 60), "x").inputs["input_ids"].tolist() for backbone in (old, whole)]
        assert seen[0] == seen[1]


def test_the_layout_without_a_processor_file_is_read(copy: Path) -> None:
    file = copy / "processor_config.json"
    images = json.loads(file.read_text())["image_processor"]
    file.unlink()
    old = {**images, "image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor"}
    (copy / "preprocessor_config.json").write_text(json.dumps(old))
    backbone = load(entry(copy), dtype="float32", device="cpu")
    assert backbone.generate(noise(40, 60), "x", max_new_tokens=1, tap=False).tokens is not None


def test_a_processor_that_fails_is_one_sentence_of_the_check(tmp_path: Path) -> None:
    backbone = load(BUILDERS["smolvlm"](tmp_path), dtype="float32", device="cpu")
    backbone.processor.chat_template = None
    with pytest.raises(InputError, match="its processor fails"):
        next(check(backbone))  # type: ignore[arg-type]


def test_a_setting_that_nobody_has_is_named() -> None:
    processor = SimpleNamespace(patch_size=None)
    with pytest.raises(
        InputError, match=r"model: patch_size is neither in processor_config\.json nor in config"
    ):
        complete(processor, SimpleNamespace(vision_config=SimpleNamespace(image_size=48)), "model")


def test_bfloat16_is_read_in_float32(plain_directory: Path) -> None:
    from PIL import Image

    from flmm.protocols import Answer, Piece

    backbone = load(entry(plain_directory), dtype="bfloat16", device="cpu")
    observed = backbone.observe(Image.new("RGB", (9, 7), "red"), [Answer("a", (Piece("dog", 0),))], "Please")[
        0
    ]
    assert str(observed.attention[0].dtype) == str(observed.hidden[0].dtype) == "torch.float32"
    assert observed.attention[0].isfinite().all() and observed.attention[0].sum() > 0
