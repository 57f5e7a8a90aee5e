"""The fine grid of tiled models is what the model's own packing leaves of the canvas."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.image_processing_utils import select_best_resolution
from transformers.image_utils import ChannelDimension
from transformers.models.llava_next.image_processing_llava_next import get_patch_output_size

from flmm.backbones import load
from flmm.backbones.lmm import TransformersBackbone
from flmm.contract.check import geometry, noise
from flmm.errors import InputError
from tests.families import llava_next, llava_onevision


@pytest.fixture(scope="module")
def next_backbone(tmp_path_factory: pytest.TempPathFactory) -> TransformersBackbone:
    loaded = load(llava_next.build(tmp_path_factory.mktemp("next")), dtype="float32", device="cpu")
    assert isinstance(loaded, TransformersBackbone)
    return loaded


@given(height=st.integers(30, 200), width=st.integers(30, 200))
@settings(max_examples=25, deadline=None)
def test_packing_coded_cells_leaves_those_that_the_view_names(
    next_backbone: TransformersBackbone, height: int, width: int
) -> None:
    """Every cell of the canvas carries its own row and column through `pack_image_features`."""
    patch, count = llava_next.PATCH, llava_next.SIDE // llava_next.PATCH
    canvas = select_best_resolution((height, width), llava_next.PINPOINTS)
    rows, columns = canvas[0] // patch, canvas[1] // patch
    cells = torch.cartesian_prod(torch.arange(float(rows)), torch.arange(float(columns)))
    tiles = cells.reshape(rows // count, count, columns // count, count, 2).transpose(1, 2)
    coded = torch.cat([torch.zeros(1, count**2, 2), tiles.reshape(-1, count**2, 2)])
    packed, _ = next_backbone.model.model.pack_image_features(
        [coded],
        torch.tensor([[height, width]]),
        vision_feature_select_strategy="default",
        image_newline=torch.full((2,), -1.0),
    )
    kept = packed[0][count**2 :]
    kept = kept[kept[:, 0] >= 0]
    first, last = kept[0], kept[-1]

    coarse, fine = next_backbone.encode(noise(height, width), "x").grids
    assert (coarse.rows, coarse.columns) == (count, count)
    assert [fine.rows, fine.columns] == (last - first + 1).tolist()
    content = get_patch_output_size(torch.zeros(3, height, width), canvas, ChannelDimension.FIRST)
    view = fine.view
    assert (view.height, view.width) == (fine.rows * patch, fine.columns * patch)
    assert (view.content_height, view.content_width) == content
    start = [(side - length) // 2 for side, length in zip(canvas, content, strict=True)]
    assert [view.top, view.left] == [s - int(c) * patch for s, c in zip(start, first, strict=True)]


def test_patches_that_do_not_fill_a_tile_add_no_cell_to_the_canvas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SigLIP's 14-pixel patches in 384 pixels: 4 tiles of 38 hold 16 patches of 8, though 152 pixels hold 19."""
    side = 38
    monkeypatch.setattr(llava_onevision, "SIDE", side)
    monkeypatch.setattr(llava_onevision, "PINPOINTS", [[side, 4 * side], [4 * side, side]])
    backbone = load(llava_onevision.build(tmp_path), dtype="float32", device="cpu")
    assert isinstance(backbone, TransformersBackbone)
    for size, kept in (((60, 180), (4, 12)), ((180, 60), (12, 4))):
        grid = backbone.encode(noise(*size), "x").grids[1]
        assert (grid.rows, grid.columns) == kept
        assert (grid.view.height, grid.view.width) == tuple(count * llava_onevision.PATCH for count in kept)
        assert geometry(backbone, *size).holds


@pytest.mark.parametrize("size", [(16, 160), (160, 16)])
def test_a_photograph_that_is_unpadded_to_nothing_is_refused(
    next_backbone: TransformersBackbone, size: tuple[int, int]
) -> None:
    with pytest.raises(InputError, match=f"{size[1]} x {size[0]} the model keeps no token of its tiles"):
        next_backbone.encode(noise(*size), "x")


def test_a_language_model_without_a_template_is_named(tmp_path: Path) -> None:
    entry = llava_next.build(tmp_path)
    backbone = load(entry, dtype="float32", device="cpu")
    assert isinstance(backbone, TransformersBackbone)
    backbone.model.config.text_config.model_type = "yi"
    with pytest.raises(InputError, match="templates for llama and mistral, not for a 'yi' language model"):
        backbone.encode(noise(40, 60), "x")
