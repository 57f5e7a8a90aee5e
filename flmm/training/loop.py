"""``flmm train``: build a head, train it on what one backbone looked at, write it."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flmm.device import hardware, use_threads
from flmm.files import write_json, write_text
from flmm.heads.checkpoint import HeadConfig, save_head
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.segmenter import Segmenter, load_segmenter
from flmm.params import Params
from flmm.training.checkpoints import Checkpoints, Record
from flmm.training.images import Images, TrainingImages
from flmm.training.progress import OnStep
from flmm.training.trainer import LOSSES, Trainer, make_accelerator

FINAL_STEPS = 50  # the summary's final losses are means over this many last steps


def train(
    params: Params,
    backbone_name: str,
    manifests: Sequence[Path],
    embed_manifests: Sequence[Path],
    out: Path,
    *,
    key: str,
    checkpoints: Path,
    raw: Path,
    on_step: OnStep | None = None,
) -> None:
    """Train a head on cached attention and embeddings; see ``train_on``.

    Raises:
        InputError: a manifest, shard, embedding or segmenter cannot be used.
        StepError: the loss is not finite, or the disk is full.
    """

    def cached(_: torch.device) -> TrainingImages:
        return TrainingImages(manifests, embed_manifests, backbone_name)

    train_on(params, backbone_name, cached, out, key=key, checkpoints=checkpoints, raw=raw, on_step=on_step)


def train_on(
    params: Params,
    backbone_name: str,
    images_on: Callable[[torch.device], Images],
    out: Path,
    *,
    key: str,
    checkpoints: Path,
    raw: Path,
    on_step: OnStep | None = None,
) -> None:
    """Train a head; writes ``head.safetensors``, ``curves.jsonl``, ``summary.json``, ``timing.json``.

    ``key`` stands for everything that decides the weights: a killed run goes on from its last checkpoint in
    ``checkpoints/<key>`` and ends with the same bytes, except for ``timing.json``. ``images_on`` gives the images for
    the device that this process trains on. ``on_step`` gets each step's record as it comes and may fail without harm.
    Runs on the processes and devices that accelerate finds, each process with ``train.threads`` threads.

    Raises:
        InputError: what the images are made from, or the segmenter, cannot be used.
        StepError: the loss is not finite, or the disk is full.
    """
    started = time.perf_counter()
    use_threads(params.train.threads)
    accelerator = make_accelerator(params.train)
    images = images_on(accelerator.device)
    segmenter = load_segmenter(params.active.segmenter, raw)
    config = _head_config(params, backbone_name, images, segmenter)
    head = _fresh_head(params, config, segmenter)
    images.use(segmenter)
    trainer = Trainer(params.train, params.train.seeds[0], head, images, accelerator)
    with accelerator.main_process_first():  # it tidies up; the others find what it left
        kept = Checkpoints(checkpoints, key)
        done, state = kept.resume()
    accelerator.wait_for_everyone()
    trainer.run(kept, state, on_step)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        records = kept.records()
        save_head(out / "head.safetensors", head, config)
        write_text(out / "curves.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        write_json(out / "summary.json", _summary(params, key, head, images, records))
        timing = {"seconds": round(time.perf_counter() - started, 2), "steps": len(trainer.plan) - done}
        where = {"device": str(accelerator.device), "processes": accelerator.num_processes}
        where |= {"hardware": hardware(accelerator.device), "threads": params.train.threads}
        write_json(out / "timing.json", timing | {"resumed_after_step": done} | where)
        kept.remove()


def _fresh_head(params: Params, config: HeadConfig, segmenter: Segmenter) -> GroundingHead:
    return build_head(
        params.train.head,
        channels=config.channels,
        layers=config.layers,
        hidden_width=config.hidden_width,
        segmenter=segmenter,
        seed=params.train.seeds[0],
        selection=config.selection,
    )


def _head_config(params: Params, backbone_name: str, images: Images, segmenter: Segmenter) -> HeadConfig:
    return HeadConfig(
        backbone=backbone_name,
        segmenter=params.active.segmenter.name,
        side=segmenter.side,
        channels=images.channels,
        layers=images.layers,
        hidden_width=images.hidden_width,
        base_channels=params.train.head.base_channels,
        upsample=params.train.head.upsample,
        selection=images.selection,
    )


def _summary(
    params: Params, key: str, head: GroundingHead, images: Images, records: Sequence[Record]
) -> dict[str, Any]:
    """What was trained on what, without times: equal for equal runs."""
    last = records[-FINAL_STEPS:]
    parts = {
        "mask_head": _count(head.mask_head),
        "prompt_encoder": _count(head.sam.model["prompt_encoder"]),
        "mask_decoder": _count(head.sam.model["mask_decoder"]),
        "text": _count(head.text_proj) + head.text_layer_weights.numel(),
    }
    return {
        "key": key,
        "trainable_parameters": _count(head),
        "trainable_parameters_by_part": parts,
        "answers": len(images),
        "phrases": images.phrases,
        "epochs": params.train.epochs,
        "steps": len(records),
        "final": {name: sum(record[name] for record in last) / len(last) for name in ("loss", *LOSSES)},
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
