"""Saved heads come back exactly, and foreign files are refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flmm.backbones.base import HeadInput
from flmm.errors import InputError
from flmm.heads.checkpoint import (
    HeadConfig,
    check_fits,
    load_head,
    load_published,
    read_config,
    save_head,
)
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.published import export_checkpoint
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.imported import check_fit
from flmm.params import Head, load_params
from flmm.selection import Selection
from tests.heads.conftest import CHANNELS, LAYERS, TINY_SAM, WIDTH, make_head

PARAMS = Path(__file__).parents[2] / "params.yaml"
CONFIG = HeadConfig(
    backbone="shapes-llava",
    segmenter="shapes-sam",
    side=48,
    channels=CHANNELS,
    layers=LAYERS,
    hidden_width=WIDTH,
    base_channels=4,
    upsample=16,
)


@torch.no_grad()
def test_a_saved_head_gives_the_same_masks_and_the_same_bytes(
    tmp_path: Path, sam: SamSegmenter, head: GroundingHead, said: HeadInput
) -> None:
    first, second, embedding = (
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
        torch.randn(1, 16, 6, 6),
    )
    save_head(first, head, CONFIG)
    loaded = load_head(first, SamSegmenter(build_sam(TINY_SAM)))
    assert read_config(first) == CONFIG
    assert not loaded.training
    for ours, theirs in zip(
        *(vars(each([said], [embedding])[0]).values() for each in (head, loaded)), strict=True
    ):
        assert torch.equal(ours, theirs)
    save_head(second, loaded, CONFIG)
    assert first.read_bytes() == second.read_bytes()


@torch.no_grad()
def test_a_head_of_a_selection_takes_its_part_of_what_the_lmm_gives(
    tmp_path: Path, sam: SamSegmenter, said: HeadInput
) -> None:
    chosen = Selection(heads=(0, 3), layers=(1,), of_heads=CHANNELS, of_layers=LAYERS)
    sizes = {"channels": 2, "layers": 1, "hidden_width": WIDTH}
    made = build_head(
        Head(base_channels=4, upsample=16), segmenter=sam, seed=1, selection=chosen, **sizes
    ).eval()
    path, config = tmp_path / "head.safetensors", CONFIG.model_copy(update={"selection": chosen, **sizes})
    save_head(path, made, config)
    assert read_config(path) == config and (config.lmm_channels, config.lmm_layers) == (CHANNELS, LAYERS)
    check_fits(path, config, {"channels": CHANNELS, "layers": LAYERS, "hidden_width": WIDTH}, "its LMM")
    loaded, embedding = load_head(path, sam), torch.randn(1, 16, 6, 6)
    outputs = [each([one], [embedding])[0] for each in (made, loaded) for one in (said, said.kept(chosen))]
    assert all(torch.equal(output.refined, outputs[0].refined) for output in outputs)
    with pytest.raises(InputError, match="run train again"):
        make_head(sam)([said.kept(chosen)], [embedding])
    with pytest.raises(InputError, match=r"trained on 2 of \d+ attention heads"):
        export_checkpoint(path, tmp_path / "head.pth", backbone="shapes-llava")
    with pytest.raises(InputError, match="only a head of all of them is imported"):
        check_fit(load_params(PARAMS).catalogue["shapes-llava"], path)


def test_a_head_of_all_heads_says_nothing_of_a_selection(tmp_path: Path, head: GroundingHead) -> None:
    save_head(tmp_path / "head.safetensors", head, CONFIG)
    assert b"selection" not in (tmp_path / "head.safetensors").read_bytes()


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_head_with_a_missing_or_extra_key_is_refused_naming_it(
    tmp_path: Path, sam: SamSegmenter, head: GroundingHead, change: str
) -> None:
    path = tmp_path / "head.safetensors"
    save_head(path, head, CONFIG)
    weights = load_file(path)
    if change == "missing":
        del weights["text_proj.bias"]
    else:
        weights["text_proj.scale"] = torch.ones(1)
    save_file(weights, path, metadata={"flmm_head": CONFIG.model_dump_json()})
    with pytest.raises(InputError, match=rf"{change}: text_proj\.(bias|scale)"):
        load_head(path, sam)


def test_a_head_of_another_segmenter_is_refused(tmp_path: Path, head: GroundingHead) -> None:
    path = tmp_path / "head.safetensors"
    save_head(path, head, CONFIG)
    with pytest.raises(InputError, match=r"shapes-sam of 48 pixels, this one has 64"):
        load_head(path, SamSegmenter(build_sam({**TINY_SAM, "img_size": 64})))


def test_a_file_without_our_metadata_or_with_a_broken_one_is_refused(
    tmp_path: Path, sam: SamSegmenter
) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not a head saved by `flmm train`"):
        load_head(path, sam)
    save_file({"a": torch.zeros(1)}, path, metadata={"flmm_head": '{"backbone": "x"}'})
    with pytest.raises(InputError, match="metadata segmenter"):
        load_head(path, sam)
    with pytest.raises(InputError, match="no such file"):
        load_head(tmp_path / "none.safetensors", sam)


def test_a_published_file_with_an_unknown_key_or_without_a_part_is_refused(
    tmp_path: Path, sam: SamSegmenter
) -> None:
    path, state = tmp_path / "published.pth", make_head(sam).state_dict()
    torch.save({"state_dict": {**state, "sam.model.neck.weight": torch.zeros(1)}}, path)
    with pytest.raises(InputError, match=r"sam\.model\.neck\.weight"):
        load_published(path)
    torch.save({"state_dict": {name: value for name, value in state.items() if "text" not in name}}, path)
    with pytest.raises(InputError, match=r"text_proj\., text_layer_weights"):
        load_published(path)


def test_a_published_file_saved_by_a_parallel_wrapper_loads(tmp_path: Path, sam: SamSegmenter) -> None:
    path, state = tmp_path / "published.pth", make_head(sam).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    assert load_published(path).keys() == state.keys()


def test_only_trained_tensors_are_saved(tmp_path: Path, head: GroundingHead) -> None:
    save_head(tmp_path / "head.safetensors", head, CONFIG)
    parts = {name.split(".")[0] for name in load_file(tmp_path / "head.safetensors")}
    assert parts == {"mask_head", "sam", "text_proj", "text_layer_weights"}
