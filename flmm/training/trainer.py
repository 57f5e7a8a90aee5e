"""The optimisation of a grounding head: one step at a time, on one device or many, resumable at any step.

Legend: P phrases, H W coarse logits, h w image size in pixels.
"""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from flmm.data.geometry import resize_nearest, training_targets
from flmm.errors import InputError, StepError
from flmm.heads.batches import together
from flmm.heads.losses import mask_loss
from flmm.heads.model import GroundingHead, HeadOutput
from flmm.params import Train
from flmm.training.checkpoints import Checkpoints, Record
from flmm.training.images import (
    Batch,
    Images,
    Read,
    TrainingImage,
    plan,
    read_ahead,
    share,
    workers_of,
)
from flmm.training.progress import OnStep, Reporter

# What accelerate calls `train.precision`.
MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
LOSSES = ("loss_coarse_bce", "loss_coarse_dice", "loss_refined_bce", "loss_refined_dice")


def make_accelerator(settings: Train) -> Accelerator:
    """The processes and devices of this run, as ``accelerate launch`` or the machine gives them.

    Raises:
        InputError: ``float16`` without a GPU.
    """
    # Parts of SAM's decoder take no part in the loss (its IoU head), which data parallelism has to be told.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=MIXED[settings.precision], kwargs_handlers=[unused])
    if settings.precision == "float16" and accelerator.device.type == "cpu":
        raise InputError("train.precision: float16 needs a GPU; use float32 or bfloat16")
    return accelerator


def learning_rate(step: int, *, steps: int, peak: float, warmup: float) -> float:
    """Of step 1 … ``steps``: linear to ``peak`` over a share ``warmup`` of them, then half a cosine to 0."""
    rising = math.ceil(warmup * steps)
    if step <= rising:
        return peak * step / rising
    progress = (step - 1 - rising) / (steps - rising)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def image_losses(
    output: HeadOutput, image: TrainingImage, refined_targets: Literal["annotation", "resized"]
) -> torch.Tensor:
    """The four losses of one image (order: ``LOSSES``), each the mean over its phrases.

    The coarse target goes by way of the image's size in the LMM's input. The refined masks have the image's own
    size; they are compared with the annotation itself, or (``resized``, as the authors do) with what is left of it
    at the LMM's size, enlarged again: small outlines are blocks then.
    """
    masks, view = image.masks.to(output.coarse.device), image.said.view  # masks: (P, h, w)
    coarse = mask_loss(output.coarse, training_targets(masks, view, _size(output.coarse)))
    refined = mask_loss(
        output.refined,
        resize_nearest(masks, _size(output.refined))
        if refined_targets == "annotation"
        else training_targets(masks, view, _size(output.refined)),
    )
    return torch.stack([coarse["bce"], coarse["dice"], refined["bce"], refined["dice"]])


def _size(logits: torch.Tensor) -> tuple[int, int]:
    return logits.shape[-2], logits.shape[-1]


class Trainer:
    """Runs the plan of all steps; every random choice is a function of the seed and the position in it."""

    def __init__(
        self,
        settings: Train,
        seed: int,
        head: GroundingHead,
        images: Images,
        accelerator: Accelerator,
    ) -> None:
        self.accelerator = accelerator
        self.plan = plan(len(images), epochs=settings.epochs, batch_size=settings.batch_size, seed=seed)
        self._settings, self._seed, self._images = settings, seed, images
        # Convolutions of few channels run about a quarter faster in this layout, on CPU and GPU; values stay.
        head.mask_head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            head.parameters(),
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._head = head
        self._model, self._optimizer = accelerator.prepare(head.train(), optimizer)

    def run(self, checkpoints: Checkpoints, state: dict[str, Any] | None, on_step: OnStep | None) -> None:
        """All steps after the checkpoint ``state`` (None: all steps), with a checkpoint after the last one.

        Raises:
            StepError: a loss is not finite, or the disk is full.
        """
        done = self._restore(state) if state else 0
        remaining = self.plan[done:]
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        order = [index for batch in remaining for index in share(batch, process, processes)[0]]
        loader = read_ahead(self._images, order, workers_of(self._settings.workers, processes))
        if not self.accelerator.is_main_process:
            for batch in remaining:
                self._step(batch, loader)
            return
        with Reporter(checkpoints.curves, steps=len(self.plan), done=done, on_step=on_step) as reporter:
            for batch in remaining:
                record = self._step(batch, loader)
                reporter.step(record, len(batch.images))
                if batch.step % self._settings.checkpoint_every == 0 or batch.step == len(self.plan):
                    checkpoints.save(batch.step, self._state())

    def _step(self, batch: Batch, loader: Iterator[Read]) -> Record:
        """One optimiser step over a batch, a few images at a time."""
        accelerator = self.accelerator
        mine, weight = share(batch, accelerator.process_index, accelerator.num_processes)
        # Seeded by position: whatever draws random numbers draws the same ones after a resume.
        torch.manual_seed(self._seed * 1_000_003 + batch.step)
        lr = self._set_learning_rate(batch.step)
        total = torch.zeros(len(LOSSES), device=accelerator.device)
        images = [next(loader) for _ in mine]
        passes = list(together(images, len))
        for number, read in enumerate(passes, start=1):
            some = [self._images.ready(image, accelerator.device) for image in read]
            # Gradients travel between processes once per step, with the last images.
            with nullcontext() if number == len(passes) else accelerator.no_sync(self._model):
                outputs = self._model([image.said for image in some], [image.embedding for image in some])
                targets = self._settings.targets
                each = [
                    image_losses(output, image, targets) for output, image in zip(outputs, some, strict=True)
                ]
                losses = torch.stack(each).sum(dim=0)
                accelerator.backward(losses.sum() * weight)
            total += losses.detach() * (weight / accelerator.num_processes)
        norm = accelerator.clip_grad_norm_(self._head.parameters(), self._settings.gradient_norm)
        values: list[float] = accelerator.reduce(total, reduction="sum").tolist()
        if not math.isfinite(sum(values)):
            raise StepError(f"train: the loss of step {batch.step} is not finite; try a smaller train.lr")
        self._optimizer.step()
        self._optimizer.zero_grad()
        named = dict(zip(LOSSES, values, strict=True))
        position = {"step": batch.step, "epoch": batch.epoch}
        return {**position, "loss": sum(values), **named, "lr": lr, "gradient_norm": float(norm)}

    def _set_learning_rate(self, step: int) -> float:
        settings = self._settings
        lr = learning_rate(step, steps=len(self.plan), peak=settings.lr, warmup=settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _state(self) -> dict[str, Any]:
        """Everything a resumed run needs beside its position, which fixes the order and the learning rate."""
        scaler = self.accelerator.scaler
        return {
            "head": self._head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }

    def _restore(self, state: dict[str, Any]) -> int:
        self._head.load_state_dict(state["head"], strict=True)
        self._optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        step: int = state["step"]
        return step
