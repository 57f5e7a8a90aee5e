"""SAM 2 behind the same seam: its embeddings and its decoder give what transformers' own model gives."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import Sam2Config, Sam2Model

from flmm.backbones.base import HeadInput
from flmm.data.geometry import resize_bilinear
from flmm.errors import InputError
from flmm.heads.checkpoint import HeadConfig, load_head, save_head
from flmm.heads.localization import LocalizationHead
from flmm.heads.model import GroundingHead
from flmm.heads.sam2 import Sam2Segmenter, fold, unfold
from flmm.heads.segmenter import load_segmenter
from flmm.params import Segmenter
from tests.heads.conftest import CHANNELS, HEIGHT, IMAGE_WIDTH, LAYERS, WIDTH, make_head

SIDE, DECODER = 64, 32
ENTRY = Segmenter(name="tiny", checkpoint="sam2")


def tiny_sam2() -> Sam2Model:
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 16, "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 4, 2, 2],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": DECODER,
    }  # fmt: skip
    prompts = {"hidden_size": DECODER, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": DECODER, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    model = Sam2Model(config).eval()
    with torch.no_grad():  # transformers draws these small, or not at all: make every part count
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        # A published model has one table of positions in two places.
        positions = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(positions)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_sam2().save_pretrained(tmp_path / "sam2")
    return tmp_path


@pytest.fixture
def segmenter(folder: Path) -> Sam2Segmenter:
    found = load_segmenter(ENTRY, folder)
    assert isinstance(found, Sam2Segmenter)
    return found


def picture() -> Image.Image:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (HEIGHT, IMAGE_WIDTH, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def test_it_is_loaded_frozen_with_its_sizes(segmenter: Sam2Segmenter) -> None:
    assert (segmenter.side, segmenter.embedding_side, segmenter.channels) == (SIDE, 4, 4 * DECODER)
    assert not any(parameter.requires_grad for parameter in segmenter.model.parameters())
    embedding = segmenter.embed(picture())
    assert embedding.shape == (1, 4 * DECODER, 4, 4) and bool(torch.isfinite(embedding).all())


def test_the_published_sizes_fit() -> None:
    """The defaults of transformers are those of the smallest published model; only the image encoders differ."""
    with torch.device("meta"):
        segmenter = Sam2Segmenter(Sam2Model(Sam2Config()))
    assert (segmenter.side, segmenter.embedding_side, segmenter.channels) == (1024, 64, 1024)
    assert segmenter.refiner().mask_prompt_size == (256, 256)


def test_a_checkpoint_that_also_tracks_videos_is_read_without_those_parts(folder: Path) -> None:
    config = json.loads((folder / "sam2" / "config.json").read_text())
    (folder / "sam2" / "config.json").write_text(json.dumps({**config, "model_type": "sam2_video"}))
    assert load_segmenter(ENTRY, folder).side == SIDE


def test_a_missing_weight_is_refused_naming_it(folder: Path) -> None:
    model, name = tiny_sam2(), "mask_decoder.mask_tokens.weight"
    model.save_pretrained(
        folder / "sam2", state_dict={key: value for key, value in model.state_dict().items() if key != name}
    )
    with pytest.raises(InputError, match=r"1 weights are absent.* mask_decoder\.mask_tokens\.weight"):
        load_segmenter(ENTRY, folder)


def test_a_directory_without_weights_is_refused(folder: Path) -> None:
    (folder / "sam2" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded as SAM 2"):
        load_segmenter(ENTRY, folder)


def test_folding_loses_nothing() -> None:
    maps = [torch.randn(2, 32, 4, 4), torch.randn(2, 8, 8, 8), torch.randn(2, 4, 16, 16)]
    block = fold(maps)
    assert block.shape == (2, 128, 4, 4)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(unfold(block, 32), maps, strict=True))
    # What lies in one cell of the block is what lies in that cell of the picture.
    moved = block.clone()
    moved[:, :, 1, 2] += 1
    changed = (unfold(moved, 32)[2] != maps[2]).nonzero()
    assert (changed[:, 2] // 4 == 1).all() and (changed[:, 3] // 4 == 2).all()


@torch.no_grad()
@pytest.mark.parametrize("with_mask", [False, True])
def test_the_refiner_decodes_as_transformers_does(segmenter: Sam2Segmenter, with_mask: bool) -> None:
    """Same picture, boxes and mask prompts, no words: the same masks, at the picture's size."""
    logits = torch.full((3, 20, 30), -6.0)
    for index in range(3):
        logits[index, 3 + index : 14, 4 * index : 4 * index + 9] = 6
    size = (HEIGHT, IMAGE_WIDTH)
    refiner, embedding = segmenter.refiner().eval(), segmenter.embed(picture())
    if with_mask:
        ours = refiner(embedding, logits, [torch.zeros(0, DECODER)] * 3, size)
    else:
        ours = refiner.from_boxes(embedding, logits, size)
    theirs = tiny_sam2()
    theirs.mask_decoder.dynamic_multimask_via_stability = False
    low = [
        theirs(
            pixel_values=segmenter.preprocess(picture()),
            input_boxes=refiner.box_prompts(logits, size)[index : index + 1, None],
            input_masks=refiner.mask_prompts(logits, size)[index : index + 1] if with_mask else None,
            multimask_output=False,
        ).pred_masks[0, 0]
        for index in range(3)
    ]
    expected = resize_bilinear(resize_bilinear(torch.cat(low), (SIDE, SIDE)), size)
    assert ours.shape == (3, *size)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_a_picture_fills_the_square(segmenter: Sam2Segmenter) -> None:
    """White is white to the last row and column, and boxes are stretched with the picture."""
    pixels = segmenter.preprocess(Image.new("RGB", (IMAGE_WIDTH, HEIGHT), (255, 255, 255)))
    assert pixels.shape == (1, 3, SIDE, SIDE)
    torch.testing.assert_close(pixels.amin((2, 3)), pixels.amax((2, 3)))
    everywhere = torch.full((1, 8, 8), 5.0)
    boxes = segmenter.refiner().box_prompts(everywhere, (HEIGHT, IMAGE_WIDTH))
    assert boxes.tolist() == [[0, 0, SIDE, SIDE]]


def test_a_head_on_it_trains_and_comes_back_from_its_file(
    segmenter: Sam2Segmenter, said: HeadInput, tmp_path: Path
) -> None:
    head, embedding = make_head(segmenter), segmenter.embed(picture())
    output = head([said], [embedding])[0]
    assert output.refined.shape == (4, HEIGHT, IMAGE_WIDTH)
    output.refined.square().mean().backward()
    for part in (
        "mask_head.encoder",
        "sam.model.prompt_encoder.encoder.mask",
        "sam.model.mask_decoder",
        "text",
    ):
        gradients = [value.grad for name, value in head.named_parameters() if name.startswith(part)]
        assert any(gradient is not None and bool(gradient.any()) for gradient in gradients), part
    assert all(parameter.grad is None for parameter in segmenter.model.parameters())
    config = HeadConfig(
        backbone="b", segmenter="tiny", side=SIDE, channels=CHANNELS, layers=LAYERS, hidden_width=WIDTH,
        base_channels=4, upsample=16,
    )  # fmt: skip
    save_head(tmp_path / "head.safetensors", head, config)
    again: GroundingHead = load_head(tmp_path / "head.safetensors", segmenter)
    with torch.no_grad():
        assert torch.equal(again([said], [embedding])[0].refined, head.eval()([said], [embedding])[0].refined)


@torch.no_grad()
def test_the_baseline_without_training_takes_it_too(segmenter: Sam2Segmenter, said: HeadInput) -> None:
    output = LocalizationHead([0, 2], segmenter)([said], [segmenter.embed(picture())])[0]
    assert output.refined.shape == (4, HEIGHT, IMAGE_WIDTH)
