"""A training is the same on every run, resumes after any interruption, and trains what it says it trains."""

import json
import logging
import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flmm.backbones.base import Grid, HeadInput
from flmm.cli.training import readers_are_named
from flmm.data.geometry import View
from flmm.errors import InputError, StepError
from flmm.heads.checkpoint import load_head
from flmm.heads.losses import mask_loss
from flmm.heads.model import HeadOutput
from flmm.heads.segmenter import load_segmenter
from flmm.params import Params
from flmm.training import train, trainer
from flmm.training.checkpoints import Record
from flmm.training.images import TrainingImage

from .conftest import Run
from .synthetic import BACKBONE, KEY, make_params, write_training_set

OTHER_KEY = "1" * 64
RESULTS = ("curves.jsonl", "head.safetensors", "summary.json")
Set = tuple[Path, Path, Path]


def curves(out: Path) -> list[Record]:
    return [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]


def assert_same_results(first: Path, second: Path) -> None:
    for name in RESULTS:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


class Interrupted(BaseException):
    """Stands for a signal: nothing may catch it."""


def interrupt_at(step: int) -> trainer.OnStep:
    def on_step(record: Record) -> None:
        if record["step"] == step:
            raise Interrupted

    return on_step


def test_two_runs_are_bit_identical(run: Run, tmp_path: Path) -> None:
    assert_same_results(run(tmp_path / "a"), run(tmp_path / "b"))


@pytest.mark.parametrize("step", [1, 3, 4, 6])  # before the first checkpoint, between two, at one, at the end
def test_an_interrupted_run_ends_with_the_same_bytes(run: Run, tmp_path: Path, step: int) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", on_step=interrupt_at(step))
    assert not (tmp_path / "a" / "head.safetensors").exists()
    assert_same_results(run(tmp_path / "a"), run(tmp_path / "b"))
    assert [record["step"] for record in curves(tmp_path / "a")] == [1, 2, 3, 4, 5, 6]


def test_a_resume_does_not_repeat_steps_before_the_checkpoint(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, on_step=interrupt_at(5))
    seen: list[Record] = []
    run(tmp_path, on_step=seen.append)
    assert [record["step"] for record in seen] == [5, 6]
    assert json.loads((tmp_path / "timing.json").read_text())["resumed_after_step"] == 4


def test_a_half_written_checkpoint_is_ignored(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", on_step=interrupt_at(5))
    newest = sorted((tmp_path / "a").glob("checkpoints/*/step-*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    (newest.parent / ".step-00000006.pt.x.tmp.pt").write_bytes(b"half")
    assert_same_results(run(tmp_path / "a"), run(tmp_path / "b"))


def test_a_checkpoint_of_other_parameters_is_refused(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", on_step=interrupt_at(5))
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "a", key=OTHER_KEY, lr=5.0e-4)
    assert "made with other parameters, data or code; not resumed" in caplog.text
    assert_same_results(tmp_path / "a", run(tmp_path / "b", key=OTHER_KEY, lr=5.0e-4))


def test_a_foreign_checkpoint_under_the_right_name_is_refused(run: Run, tmp_path: Path) -> None:
    for name, key, lr in (("a", KEY, 1.5e-3), ("b", OTHER_KEY, 5.0e-4)):
        with pytest.raises(Interrupted):
            run(tmp_path / name, on_step=interrupt_at(5), key=key, lr=lr)
    ours, foreign = (next((tmp_path / name).glob("checkpoints/*")) for name in "ab")
    shutil.copy(foreign / "step-00000004.pt", ours / "step-00000005.pt")
    ended = run(tmp_path / "a", lr=1.5e-3)
    assert_same_results(ended, run(tmp_path / "c", lr=1.5e-3))


def test_the_pace_of_checkpoints_does_not_matter_to_a_resume(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", on_step=interrupt_at(5))
    run(tmp_path / "a", checkpoint_every=3)
    assert json.loads((tmp_path / "a" / "timing.json").read_text())["resumed_after_step"] == 4
    assert_same_results(tmp_path / "a", run(tmp_path / "b"))


def test_at_most_two_checkpoints_are_kept_and_none_at_the_end(run: Run, tmp_path: Path) -> None:
    counts: list[int] = []
    run(
        tmp_path,
        on_step=lambda _: counts.append(len(list(tmp_path.glob("checkpoints/*/step-*")))),
        checkpoint_every=1,
    )
    assert counts == [0, 1, 2, 2, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*RESULTS, "timing.json"])


@pytest.mark.parametrize("workers", [1, 2, "auto"])
def test_workers_read_the_same_images(run: Run, tmp_path: Path, workers: int | str) -> None:
    assert_same_results(run(tmp_path / "a", workers=0), run(tmp_path / "b", workers=workers))


def test_a_killed_reader_is_a_sentence_and_the_next_run_goes_on(run: Run, tmp_path: Path) -> None:
    """As a memory limit kills: the trainer stays, and a process that reads shards for it is gone."""

    def kill_reader(record: Record) -> None:
        for reader in multiprocessing.active_children():
            reader.kill()

    with (
        pytest.raises(StepError, match=r"reads shards was killed.*train\.workers"),
        readers_are_named("train"),
    ):
        run(tmp_path / "a", on_step=kill_reader, workers=1, epochs=4)
    assert_same_results(run(tmp_path / "a", workers=1, epochs=4), run(tmp_path / "b", workers=0, epochs=4))


def test_a_resumed_run_may_have_other_workers(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "a", on_step=interrupt_at(4), workers=2)
    assert_same_results(run(tmp_path / "a", workers=1), run(tmp_path / "b", workers=0))


def test_a_dead_tracker_does_not_harm(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def dead(_: Record) -> None:
        raise ConnectionError("no route to host")

    assert_same_results(run(tmp_path / "a", on_step=dead), run(tmp_path / "b"))
    assert caplog.text.count("live tracking stopped at step 1: no route to host") == 1


def test_a_tiny_set_is_learned(run: Run, tmp_path: Path) -> None:
    run(tmp_path, epochs=15, batch_size=2, lr=1.0e-2, checkpoint_every=1000)
    losses = curves(tmp_path)
    assert losses[-1]["loss_coarse_dice"] < 0.75 * losses[0]["loss_coarse_dice"]
    assert losses[-1]["loss"] < 0.75 * losses[0]["loss"]


def test_the_saved_head_is_what_was_trained(run: Run, tmp_path: Path, training_set: Set) -> None:
    run(tmp_path)
    sam = load_segmenter(make_params(training_set[2]).active.segmenter, tmp_path)
    head = load_head(tmp_path / "head.safetensors", sam)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["trainable_parameters"] == sum(parameter.numel() for parameter in head.parameters())
    assert sum(summary["trainable_parameters_by_part"].values()) == summary["trainable_parameters"]
    assert (summary["answers"], summary["phrases"], summary["steps"]) == (10, 20, 6)


def test_every_trained_part_moves_and_the_image_encoder_is_not_there(
    run: Run, tmp_path: Path, training_set: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def spy(*args: object) -> object:
        loaded.append(load_segmenter(*args))
        return loaded[-1]

    monkeypatch.setattr("flmm.training.loop.load_segmenter", spy)
    run(tmp_path)
    frozen = load_file(training_set[2] / "model.safetensors")
    for name, value in loaded[0].model.state_dict().items():  # SAM itself, as it was loaded
        assert torch.equal(value, frozen[name]), name
    assert all(parameter.grad is None for parameter in loaded[0].model.parameters())
    trained = load_file(tmp_path / "head.safetensors")
    assert not any("image_encoder" in name for name in trained)
    for part in ("sam.model.prompt_encoder.mask_downscaling", "sam.model.mask_decoder.transformer"):
        assert any(
            not torch.equal(value, frozen[name.removeprefix("sam.model.")])
            for name, value in trained.items()
            if name.startswith(part)
        ), part


def test_curves_hold_every_loss_and_the_schedule(run: Run, tmp_path: Path) -> None:
    run(tmp_path, warmup=0.5, lr=1.0e-3)
    records = curves(tmp_path)
    assert [record["epoch"] for record in records] == [1, 1, 1, 2, 2, 2]
    for record in records:
        assert record["loss"] == pytest.approx(sum(record[name] for name in trainer.LOSSES))
        assert record["gradient_norm"] > 0
    rates = [record["lr"] for record in records]
    assert rates[:4] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3]) and rates[3] > rates[4] > rates[5] > 0


def test_a_step_is_the_mean_over_the_images_of_its_batch(run: Run, tmp_path: Path) -> None:
    """At a rate of almost 0 the loss of one big batch is the mean of the single images' losses."""
    run(tmp_path / "all", batch_size=10, epochs=1, lr=1.0e-30)
    run(tmp_path / "single", batch_size=1, epochs=1, lr=1.0e-30)
    singles = [record["loss"] for record in curves(tmp_path / "single")]
    assert curves(tmp_path / "all")[0]["loss"] == pytest.approx(sum(singles) / 10, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value * float("nan") for name, value in mask_loss(logits, targets).items()}

    monkeypatch.setattr(trainer, "mask_loss", broken)
    with pytest.raises(StepError, match="loss of step 1 is not finite"):
        run(tmp_path)
    assert not (tmp_path / "head.safetensors").exists()


def train_into(out: Path, params: Params, backbone: str, manifest: Path, embeddings: Path) -> None:
    train(params, backbone, [manifest], [embeddings], out, key=KEY, checkpoints=out / "checkpoints", raw=out)


def test_attention_of_another_backbone_is_refused(training_set: Set, tmp_path: Path) -> None:
    manifest, embeddings, sam = training_set
    with pytest.raises(InputError, match=r"manifest\.json: attention of shapes-llava, not of other"):
        train_into(tmp_path, make_params(sam), "other", manifest, embeddings)


def test_embeddings_of_another_segmenter_are_refused(training_set: Set, tmp_path: Path) -> None:
    manifest, _, sam = training_set
    config = {"img_size": 32, "patch_size": 16, "prompt": {"embed_dim": 16}}
    _, embeddings = write_training_set(tmp_path, images=1, sam=config)
    with pytest.raises(InputError, match="side 2, but the segmenter has 16, 4; run embed again"):
        train_into(tmp_path / "out", make_params(sam), BACKBONE, manifest, embeddings)


def test_float16_without_a_gpu_is_an_input_error(run: Run, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="float16 needs a GPU"):
        run(tmp_path, precision="float16")


def test_bfloat16_trains(run: Run, tmp_path: Path) -> None:
    run(tmp_path, precision="bfloat16")
    assert len(curves(tmp_path)) == 6


def test_refined_masks_learn_the_annotation_or_what_the_lmm_s_size_leaves_of_it() -> None:
    """A line of one pixel that nearest neighbour misses on its way through half the size."""
    masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
    masks[0, 3] = 1
    said = HeadInput((), (Grid("image", 2, 2, View(4, 4, 0, 0, 4, 4)),), (torch.zeros(1, 1, 1),), (8, 8))
    image = TrainingImage(said, masks, torch.zeros(0))
    output = HeadOutput(torch.zeros(1, 2, 2), torch.full((1, 8, 8), -20.0))
    drawn = trainer.image_losses(output, image, "annotation")
    resized = trainer.image_losses(output, image, "resized")
    assert drawn[2].item() == pytest.approx(20 * 8 / 64)
    assert resized[2].item() == pytest.approx(0, abs=1e-6)
    assert torch.equal(drawn[:2], resized[:2])


def test_the_two_kinds_of_refined_targets_train_differently(run: Run, tmp_path: Path) -> None:
    drawn, resized = (run(tmp_path / kind, targets=kind) for kind in ("annotation", "resized"))
    first, other = curves(drawn)[0], curves(resized)[0]
    assert first["loss_coarse_bce"] == other["loss_coarse_bce"]
    assert first["loss_refined_bce"] != other["loss_refined_bce"]
