"""Building, loading and feeding SAM."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from segment_anything import build_sam_vit_l
from segment_anything.modeling import Sam

from flmm.errors import InputError
from flmm.heads.sam import VIT_L, build_sam, embed, load_segmenter, preprocess
from flmm.params import Segmenter
from tests.heads.conftest import TINY_SAM


def save_directory(folder: Path, sam: Sam) -> Segmenter:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY_SAM))
    save_file(sam.state_dict(), folder / "model.safetensors")
    return Segmenter(name="tiny", checkpoint=str(folder))


def test_a_saved_segmenter_comes_back_frozen_and_equal(tmp_path: Path, sam: Sam) -> None:
    loaded = load_segmenter(save_directory(tmp_path / "tiny", sam), tmp_path)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert torch.equal(embed(loaded, image), embed(sam, image))


def test_a_segmenter_with_a_missing_weight_is_refused_naming_it(tmp_path: Path, sam: Sam) -> None:
    segmenter = save_directory(tmp_path / "tiny", sam)
    weights = {name: value for name, value in sam.state_dict().items() if name != "image_encoder.pos_embed"}
    save_file(weights, tmp_path / "tiny" / "model.safetensors")
    with pytest.raises(InputError, match=r"missing: image_encoder\.pos_embed"):
        load_segmenter(segmenter, tmp_path)


def test_an_absent_segmenter_is_named_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"sam\.pth nor {tmp_path}/sam\.pth"):
        load_segmenter(Segmenter(name="x", checkpoint="sam.pth"), tmp_path)


def test_a_config_without_a_size_is_refused_naming_it() -> None:
    with pytest.raises(InputError, match="'patch_size' is missing"):
        build_sam({name: value for name, value in TINY_SAM.items() if name != "patch_size"})


def test_our_vit_l_is_segment_anything_s() -> None:
    with torch.device("meta"):
        ours, theirs = build_sam(VIT_L), build_sam_vit_l()
    shapes = [
        {name: tuple(value.shape) for name, value in sam.state_dict().items()} for sam in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    windows = [[block.window_size for block in sam.image_encoder.blocks] for sam in (ours, theirs)]
    assert windows[0] == windows[1]


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (7, 7), (200, 90)])
def test_an_image_lies_in_the_upper_left_of_the_square(sam: Sam, height: int, width: int) -> None:
    white = Image.new("RGB", (width, height), (255, 255, 255))
    pixels = preprocess(sam, white)
    assert pixels.shape == (1, 3, 48, 48)
    rows, columns = (int(side * 48 / max(height, width) + 0.5) for side in (height, width))
    expected = torch.zeros(1, 3, 48, 48)
    expected[..., :rows, :columns] = (255 - sam.pixel_mean) / sam.pixel_std
    torch.testing.assert_close(pixels, expected)
