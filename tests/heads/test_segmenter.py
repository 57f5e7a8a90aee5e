"""Building, loading and feeding SAM."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from segment_anything.utils.transforms import ResizeLongestSide

from flmm.errors import InputError
from flmm.heads.sam import VIT_B, VIT_H, VIT_L, SamSegmenter, build_sam, published_config
from flmm.heads.segmenter import load_segmenter
from flmm.params import Segmenter
from tests.heads.conftest import TINY_SAM


def save_directory(folder: Path, sam: SamSegmenter) -> Segmenter:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY_SAM))
    save_file(sam.model.state_dict(), folder / "model.safetensors")
    return Segmenter(name="tiny", checkpoint=str(folder))


def test_a_saved_segmenter_comes_back_frozen_and_equal(tmp_path: Path, sam: SamSegmenter) -> None:
    loaded = load_segmenter(save_directory(tmp_path / "tiny", sam), tmp_path)
    assert isinstance(loaded, SamSegmenter) and (loaded.side, loaded.embedding_side, loaded.channels) == (
        48,
        6,
        16,
    )
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert torch.equal(loaded.embed(image), sam.embed(image))


def test_a_segmenter_with_a_missing_weight_is_refused_naming_it(tmp_path: Path, sam: SamSegmenter) -> None:
    segmenter = save_directory(tmp_path / "tiny", sam)
    weights = {
        name: value for name, value in sam.model.state_dict().items() if name != "image_encoder.pos_embed"
    }
    save_file(weights, tmp_path / "tiny" / "model.safetensors")
    with pytest.raises(InputError, match=r"missing: image_encoder\.pos_embed"):
        load_segmenter(segmenter, tmp_path)


def test_an_absent_segmenter_is_named_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"sam\.pth nor {tmp_path}/sam\.pth"):
        load_segmenter(Segmenter(name="x", checkpoint="sam.pth"), tmp_path)


def test_a_config_without_a_size_is_refused_naming_it() -> None:
    with pytest.raises(InputError, match="'patch_size' is missing"):
        build_sam({name: value for name, value in TINY_SAM.items() if name != "patch_size"})


PUBLISHED = {"b": (VIT_B, build_sam_vit_b), "l": (VIT_L, build_sam_vit_l), "h": (VIT_H, build_sam_vit_h)}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_weights_tell_which_sam_they_are_of(size: str) -> None:
    config, build = PUBLISHED[size]
    with torch.device("meta"):
        ours, theirs = build_sam(config), build()
    assert published_config(theirs.state_dict(), Path("sam.pth")) is config
    shapes = [
        {name: tuple(value.shape) for name, value in sam.state_dict().items()} for sam in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    blocks = [
        [(block.window_size, block.attn.num_heads) for block in sam.image_encoder.blocks]
        for sam in (ours, theirs)
    ]
    assert blocks[0] == blocks[1]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_sam_is_refused_with_its_sizes(
    tmp_path: Path, sam: SamSegmenter, suffix: str
) -> None:
    path = tmp_path / f"tiny{suffix}"
    (torch.save if suffix == ".pth" else save_file)(sam.model.state_dict(), path)
    with pytest.raises(InputError, match=r"width 16 and 2 blocks is none of SAM's ViT-B \(768, 12\)"):
        load_segmenter(Segmenter(name="x", checkpoint=str(path)), tmp_path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(
        InputError, match=r"other\.safetensors: not a SAM checkpoint, it has no image_encoder"
    ):
        load_segmenter(Segmenter(name="x", checkpoint="other.safetensors"), tmp_path)


def test_a_directory_of_another_model_is_refused_naming_its_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(InputError, match=r"model_type 'clip'; known segmenters: sam2, sam2_video"):
        load_segmenter(Segmenter(name="x", checkpoint=str(tmp_path)), tmp_path)


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (7, 7), (200, 90)])
def test_an_image_lies_in_the_upper_left_of_the_square(sam: SamSegmenter, height: int, width: int) -> None:
    white = Image.new("RGB", (width, height), (255, 255, 255))
    pixels = sam.preprocess(white)
    assert pixels.shape == (1, 3, 48, 48)
    rows, columns = (int(side * 48 / max(height, width) + 0.5) for side in (height, width))
    expected = torch.zeros(1, 3, 48, 48)
    expected[..., :rows, :columns] = (255 - sam.model.pixel_mean) / sam.model.pixel_std
    torch.testing.assert_close(pixels, expected)


@pytest.mark.parametrize(("height", "width"), [(31, 50), (200, 90), (3, 97)])
def test_a_picture_is_resized_as_by_sam_itself(sam: SamSegmenter, height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    theirs = torch.from_numpy(ResizeLongestSide(48).apply_image(picture)).permute(2, 0, 1).float()
    assert torch.equal(sam.preprocess(picture), sam.model.preprocess(theirs)[None])


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1)])
def test_a_line_of_pixels_is_embedded(sam: SamSegmenter, height: int, width: int) -> None:
    assert torch.isfinite(sam.embed(Image.new("RGB", (width, height)))).all()
