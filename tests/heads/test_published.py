"""Published checkpoints in and out, bit for bit, and nothing in them is executed."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flmm.errors import InputError
from flmm.heads.checkpoint import HeadConfig, load_head, read_config, save_head
from flmm.heads.model import build_head
from flmm.heads.published import export_checkpoint, import_checkpoint
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.params import Head
from recipes.sam import CONFIG

SIZES: dict[str, Any] = {"channels": 6, "layers": 3, "hidden_width": 10}


@pytest.fixture(scope="module")
def sam() -> SamSegmenter:
    torch.manual_seed(0)
    return SamSegmenter(build_sam(CONFIG))


@pytest.fixture
def head(tmp_path: Path, sam: SamSegmenter) -> Path:
    """A trained head as `flmm train` saves it."""
    made = build_head(Head(base_channels=4, upsample=24), segmenter=sam, seed=5, **SIZES)
    config = HeadConfig(backbone="b", segmenter="s", side=192, base_channels=4, upsample=24, **SIZES)
    save_head(tmp_path / "head.safetensors", made, config)
    return tmp_path / "head.safetensors"


def as_published(head: Path, path: Path, prefix: str = "", wrapped: bool = True) -> Path:
    """As the authors publish it: no sizes, perhaps DeepSpeed's prefix, perhaps mmengine's wrapper."""
    weights = {prefix + name: value for name, value in load_file(head).items()}
    torch.save({"state_dict": weights, "meta": {}} if wrapped else weights, path)
    return path


def taken(path: Path, out: Path, sam: SamSegmenter) -> HeadConfig:
    return import_checkpoint(path, out, backbone="b", segmenter="s", sam=sam, upsample=24)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_published_file_becomes_the_head_that_evaluate_takes(
    head: Path, tmp_path: Path, sam: SamSegmenter, prefix: str, wrapped: bool
) -> None:
    out = tmp_path / "results" / "head.safetensors"
    out.parent.mkdir()
    config = taken(as_published(head, tmp_path / "p.pth", prefix, wrapped), out, sam)
    assert config == read_config(head) == read_config(out)
    assert out.read_bytes() == head.read_bytes()
    load_head(out, sam)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_export_and_import_round_trip_bit_for_bit(
    head: Path, tmp_path: Path, sam: SamSegmenter, suffix: str
) -> None:
    exported, again = tmp_path / f"e{suffix}", tmp_path / "again.safetensors"
    export_checkpoint(head, exported, backbone="b")
    import_checkpoint(exported, again, backbone="b", segmenter="s", sam=sam, upsample=999)
    assert again.read_bytes() == head.read_bytes()  # `upsample` too: the exported file recorded it
    weights = (
        torch.load(exported, weights_only=True)["state_dict"] if suffix == ".pth" else load_file(exported)
    )
    original = load_file(head)
    assert weights.keys() == original.keys()
    assert all(torch.equal(weights[name], original[name]) for name in original)


def damaged(change: Callable[[dict[str, torch.Tensor]], None], head: Path, path: Path) -> Path:
    weights = load_file(head)
    change(weights)
    torch.save({"state_dict": weights}, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("text_proj.bias"), "text_proj.bias"),
        (
            lambda w: w.pop("text_layer_weights"),
            "a published F-LMM head has text_layer_weights, this one does not",
        ),
        (
            lambda w: w.update({"sam.model.scale": torch.zeros(2)}),
            "not of a published F-LMM head: sam.model.scale",
        ),
        (lambda w: w.update({"mask_head.scale": torch.zeros(2)}), "unexpected: mask_head.scale"),
        (lambda w: w.update({"text_proj.bias": torch.zeros(3)}), "text_proj.bias"),
        (lambda w: w.update({"text_proj.weight": torch.zeros(3)}), "not 2 axes"),
        (
            lambda w: w["text_proj.bias"].fill_(float("nan")),
            "not finite floating-point numbers: text_proj.bias",
        ),
    ],
)
def test_every_key_is_accounted_for(
    head: Path,
    tmp_path: Path,
    sam: SamSegmenter,
    change: Callable[[dict[str, torch.Tensor]], None],
    message: str,
) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=message):
        taken(damaged(change, head, tmp_path / "d.pth"), out, sam)
    assert not out.exists()


FREQUENCIES = "sam.model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def test_a_file_of_parameters_only_takes_the_frequencies_of_sam(
    head: Path, tmp_path: Path, sam: SamSegmenter, caplog: pytest.LogCaptureFixture
) -> None:
    """``torch.save(dict(model.named_parameters()))`` leaves out buffers, which no training changes."""
    out = tmp_path / "out.safetensors"
    taken(damaged(lambda w: w.pop(FREQUENCIES), head, tmp_path / "p.pth"), out, sam)
    assert out.read_bytes() == head.read_bytes()
    assert FREQUENCIES in caplog.text


def test_what_was_frozen_is_listed_and_left_out(
    head: Path, tmp_path: Path, sam: SamSegmenter, caplog: pytest.LogCaptureFixture
) -> None:
    def add(weights: dict[str, torch.Tensor]) -> None:
        weights["sam.model.image_encoder.pos_embed"] = torch.zeros(2)
        weights["sam.model.pixel_mean"] = torch.zeros(3)
        for layer in range(30):
            weights[f"llava.language_model.layers.{layer}.weight"] = torch.zeros(1)

    out = tmp_path / "out.safetensors"
    taken(damaged(add, head, tmp_path / "whole.pth"), out, sam)
    assert out.read_bytes() == head.read_bytes()
    assert "32 tensors" in caplog.text
    assert "llava.language_model.layers.* (30)" in caplog.text
    assert "sam.model.image_encoder.* (1), sam.model.pixel_mean" in caplog.text


class Evil:
    """Runs code when it is unpickled by a careless reader."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("__import__('pathlib').Path('ran').touch()",))


def test_a_file_that_wants_to_run_code_is_refused(
    tmp_path: Path, sam: SamSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "a.pth")
    Path("b.pth").write_bytes(pickle.dumps(Evil()))
    Path("c.pth").write_bytes(b"")
    for name in ("a.pth", "b.pth", "c.pth", "absent.pth"):
        with pytest.raises(InputError, match=name):
            taken(Path(name), Path("out.safetensors"), sam)
    assert not Path("ran").exists() and not Path("out.safetensors").exists()


def test_another_backbones_head_and_other_names_are_refused(
    head: Path, tmp_path: Path, sam: SamSegmenter
) -> None:
    exported = tmp_path / "e.safetensors"
    export_checkpoint(head, exported, backbone="b")
    with pytest.raises(InputError, match="exported from backbone b, not c"):
        import_checkpoint(exported, tmp_path / "o", backbone="c", segmenter="s", sam=sam, upsample=24)
    with pytest.raises(InputError, match="trained for backbone b, not c"):
        export_checkpoint(head, tmp_path / "x.pth", backbone="c")
    with pytest.raises(InputError, match=r"must end in \.pth or \.safetensors"):
        export_checkpoint(head, tmp_path / "x.bin", backbone="b")
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(head), bare)  # a published file in safetensors: no sizes of ours
    assert taken(bare, tmp_path / "o.safetensors", sam).upsample == 24


def test_a_head_by_layer_becomes_one_by_grid_and_back(head: Path, tmp_path: Path, sam: SamSegmenter) -> None:
    """3 layers, 2 grids, 1 head each: published l0g0 l0g1 l1g0 ... is ours l0g0 l1g0 l2g0 l0g1 ..."""
    first, published = "mask_head.encoder.0.0.convs.0.conv.weight", as_published(head, tmp_path / "p.pth")
    out, back = tmp_path / "o.safetensors", tmp_path / "back.safetensors"
    import_checkpoint(published, out, backbone="b", segmenter="s", sam=sam, upsample=24, grids=2)
    theirs, ours = load_file(head), load_file(out)
    assert torch.equal(ours[first], theirs[first][:, [0, 2, 4, 1, 3, 5]])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name != first)
    export_checkpoint(out, back, backbone="b", grids=2)
    assert torch.equal(load_file(back)[first], theirs[first])


def test_channels_that_are_not_layers_by_grids_are_refused(
    head: Path, tmp_path: Path, sam: SamSegmenter
) -> None:
    published, out = as_published(head, tmp_path / "p.pth"), tmp_path / "o.safetensors"
    with pytest.raises(InputError, match="6 channels, not a multiple of layers x grids, 12"):
        import_checkpoint(published, out, backbone="b", segmenter="s", sam=sam, upsample=24, grids=4)
    assert not out.exists()


def test_one_grid_keeps_the_order_whatever_the_channels(tmp_path: Path, sam: SamSegmenter) -> None:
    """7 channels of 3 layers: odd, but nothing here has to divide them."""
    sizes = SIZES | {"channels": 7}
    made = build_head(Head(base_channels=4, upsample=24), segmenter=sam, seed=5, **sizes)
    config = HeadConfig(backbone="b", segmenter="s", side=192, base_channels=4, upsample=24, **sizes)
    save_head(tmp_path / "head.safetensors", made, config)
    out = tmp_path / "o.safetensors"
    taken(as_published(tmp_path / "head.safetensors", tmp_path / "p.pth"), out, sam)
    assert out.read_bytes() == (tmp_path / "head.safetensors").read_bytes()
