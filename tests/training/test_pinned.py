"""What a training computes, pinned: five steps against the same method written down a second time, in plain torch.

Nothing of the head, the losses, the geometry or the trainer is used on this side: the U-Net is a chain of functions
over the weights by their published names, SAM's two modules are called phrase by phrase, AdamW and its schedule are
formulas. Only what goes in is shared: the first weights and the cached maps, hidden states, masks and embeddings.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from flmm.heads.model import build_head
from flmm.heads.sam import build_sam
from flmm.heads.segmenter import load_segmenter
from flmm.params import Params
from flmm.training import train
from flmm.training.images import TrainingImage, TrainingImages

from .synthetic import BACKBONE, KEY, SAM_CONFIG, make_params, write_sam, write_training_set

STEPS, LEARNING_RATE, DECAY, WARMUP = 5, 1e-4, 0.5, 0.3  # decay of a size that shows
TOLERANCE = 1e-5
UPSAMPLE = 16
Weights = dict[str, torch.Tensor]


def conv_unit(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    kernel = w[f"{name}.conv.weight"]
    x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    mean, variance = x.mean(dim=(1, 2, 3), keepdim=True), x.var(dim=(1, 2, 3), keepdim=True, correction=0)
    scale, shift = (w[f"{name}.gn.{part}"][None, :, None, None] for part in ("weight", "bias"))
    return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp_min(0)


def two_units(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return conv_unit(w, f"{name}.convs.1", conv_unit(w, f"{name}.convs.0", x))


def larger(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def coarse_logits(w: Weights, maps: torch.Tensor) -> torch.Tensor:
    """(P, C, n, n) attention to (P, 16, 16): 16 is a multiple of 8, so nothing has to be padded."""
    x = maps / maps.sum(dim=(2, 3), keepdim=True)
    x = F.interpolate(x, scale_factor=UPSAMPLE / x.shape[-1], mode="bilinear", align_corners=False)
    skips = []
    for stage in range(4):
        x = F.max_pool2d(x, 2) if stage else x
        x = two_units(w, f"mask_head.encoder.{stage}.{min(stage, 1)}", x)
        skips.append(x)
    for stage in (2, 1, 0):
        name = f"mask_head.decoder.{stage}"
        x = conv_unit(w, f"{name}.upsample.interp_upsample.1", larger(x, [2 * side for side in x.shape[-2:]]))
        x = two_units(w, f"{name}.conv_block", torch.cat([skips[stage], x], dim=1))
    return F.conv2d(x, w["mask_head.conv_seg.weight"], w["mask_head.conv_seg.bias"])[:, 0]


def refined_logits(
    w: Weights, sam: Any, image: TrainingImage, coarse: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Phrase by phrase; ``size``: height and width of the photograph."""
    side = SAM_CONFIG["img_size"]
    scale = side / max(size)
    inside = (round(size[0] * scale), round(size[1] * scale))
    lowest = min(-1.0, coarse.min().item())
    prompts = larger(coarse[None], inside)[0]
    prompts = F.pad(prompts, (0, side - inside[1], 0, side - inside[0]), value=lowest)
    prompts = larger(prompts[None], [4 * side // SAM_CONFIG["patch_size"]] * 2)[0]
    mixture = w["text_layer_weights"].softmax(0)
    refined = []
    for phrase, hidden in enumerate(image.said.hidden):
        rows, columns = (larger(coarse[None].sigmoid(), size)[0, phrase] > 0.5).nonzero(as_tuple=True)
        x, y = torch.tensor([0, size[1]]), torch.tensor([0, size[0]])
        if len(rows):
            x, y = (torch.stack([at.min(), at.max() + 1]) for at in (columns, rows))
        x, y = (
            x * inside[1] / size[1],
            y * inside[0] / size[0],
        )  # the sides are rounded, each to its own scale
        corners = torch.stack([x[0], y[0], x[1], y[1]])[None]
        sparse, dense = sam.prompt_encoder(points=None, boxes=corners, masks=prompts[phrase][None, None])
        words = (mixture[:, None, None] * hidden).sum(0) @ w["text_proj.weight"].T + w["text_proj.bias"]
        low, _ = sam.mask_decoder(
            image_embeddings=image.embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=torch.cat([sparse, words[None]], dim=1),
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        square = larger(low, (side, side))[..., : inside[0], : inside[1]]
        refined.append(larger(square, size)[0, 0])
    return torch.stack(refined)


def nearest(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """What torch, and so the authors, call nearest: in float32, a place may fall a pixel short."""
    return F.interpolate(masks[None], size=tuple(size), mode="nearest")[0]


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, mean over pixels, plus dice with plain sums, mean over phrases."""
    p = logits.sigmoid()
    entropy = -(truth * F.logsigmoid(logits) + (1 - truth) * F.logsigmoid(-logits)).mean()
    overlap, both = (p * truth).sum(dim=(1, 2)), (p + truth).sum(dim=(1, 2))
    return entropy + (1 - (2 * overlap + 1) / (both + 1)).mean()


def image_loss(w: Weights, sam: Any, image: TrainingImage, targets: str) -> torch.Tensor:
    size, view = image.said.image_size, image.said.view
    masks = image.masks.float()
    (maps,) = image.said.attention
    padded = coarse_logits(w, maps)
    side = padded.shape[-1]
    top, left = int(view.top * side / view.height), int(view.left * side / view.width)
    rows = int(view.content_height * side / view.height + 0.5)
    columns = int(view.content_width * side / view.width + 0.5)
    coarse = padded[:, top : top + rows, left : left + columns]
    seen = nearest(masks, (view.content_height, view.content_width))
    refined = refined_logits(w, sam, image, coarse, size)
    truth = masks if targets == "annotation" else nearest(seen, size)
    return loss_of(coarse, nearest(seen, (rows, columns))) + loss_of(refined, truth)


def rate(step: int) -> float:
    rising = math.ceil(WARMUP * STEPS)
    if step <= rising:
        return LEARNING_RATE * step / rising
    return LEARNING_RATE / 2 * (1 + math.cos(math.pi * (step - 1 - rising) / (STEPS - rising)))


def five_steps(
    first: Weights, images: Sequence[TrainingImage], targets: str
) -> tuple[list[tuple[float, float]], Weights]:
    """Per step the loss and the norm of its gradient, and the last weights."""
    sam = build_sam(SAM_CONFIG)
    prefix = "sam.model."
    parameters = {f"{prefix}{name}" for name, _ in sam.named_parameters()}
    w = {
        name: value.clone().requires_grad_(name in parameters or not name.startswith(prefix))
        for name, value in first.items()
    }
    trained = [name for name, value in w.items() if value.requires_grad]
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    curve = []
    for step in range(1, STEPS + 1):
        own = {name.removeprefix(prefix): value for name, value in w.items() if name.startswith(prefix)}
        loss = torch.stack([image_loss(w, Bound(sam, own), image, targets) for image in images]).mean()
        found = torch.autograd.grad(loss, [w[name] for name in trained], allow_unused=True)
        gradients = {name: each for name, each in zip(trained, found, strict=True) if each is not None}
        norm = math.sqrt(sum(each.double().pow(2).sum().item() for each in gradients.values()))
        curve.append((loss.item(), norm))
        for name, gradient in gradients.items():  # what the loss does not reach is not decayed either
            clipped = gradient * min(1.0, 1 / (norm + 1e-6))
            m, v = moments.get(name, (torch.zeros_like(clipped), torch.zeros_like(clipped)))
            m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
            moments[name] = m, v
            direction = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
            with torch.no_grad():
                w[name] -= rate(step) * (direction + DECAY * w[name])
    return curve, {name: value.detach() for name, value in w.items()}


class Bound:
    """SAM's prompt encoder and mask decoder, called with these weights instead of their own."""

    def __init__(self, sam: Any, weights: Weights) -> None:
        self.prompt_encoder = _Called(sam.prompt_encoder, "prompt_encoder.", weights)
        self.mask_decoder = _Called(sam.mask_decoder, "mask_decoder.", weights)


class _Called:
    def __init__(self, module: torch.nn.Module, prefix: str, weights: Weights) -> None:
        self._module = module
        self._weights = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}

    def __call__(self, **inputs: Any) -> Any:
        return torch.func.functional_call(self._module, self._weights, (), inputs)

    def get_dense_pe(self) -> torch.Tensor:
        module: Any = self._module
        module.load_state_dict(self._weights)  # no gradient: the frequencies are fixed
        pe: torch.Tensor = module.get_dense_pe()
        return pe


@pytest.fixture(scope="module", params=[(25, 34), (40, 22)], ids=["landscape", "portrait"])
def training_set(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("pinned")
    manifest, embeddings = write_training_set(folder, images=3, phrases=3, size=request.param)
    return manifest, embeddings, write_sam(folder / "sam")


@pytest.mark.parametrize("targets", ["annotation", "resized"])
def test_five_steps_are_the_method_s(
    training_set: tuple[Path, Path, Path], tmp_path: Path, targets: str
) -> None:
    manifest, embeddings, sam = training_set
    values = {"lr": LEARNING_RATE, "weight_decay": DECAY, "warmup": WARMUP, "targets": targets}
    params = make_params(sam, batch_size=3, epochs=STEPS, precision="float32", **values)
    checkpoints = tmp_path / "checkpoints"
    train(
        params, BACKBONE, [manifest], [embeddings], tmp_path, key=KEY, checkpoints=checkpoints, raw=tmp_path
    )
    images = TrainingImages([manifest], [embeddings], BACKBONE)
    curve, last = five_steps(first_weights(params, images), [images[index] for index in range(3)], targets)
    records = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert len(records) == STEPS
    for record, (loss, norm) in zip(records, curve, strict=True):
        assert record["loss"] == pytest.approx(loss, rel=TOLERANCE)
        assert record["gradient_norm"] == pytest.approx(norm, rel=TOLERANCE)
        assert record["lr"] == pytest.approx(rate(record["step"]))
    trained = load_file(tmp_path / "head.safetensors")
    assert trained.keys() == last.keys()
    far = {name: (trained[name] - last[name]).abs().max().item() for name in last}
    moved = {
        name for name, value in first_weights(params, images).items() if not torch.equal(value, last[name])
    }
    assert len(moved) > 0.8 * len(last)
    assert max(far.values()) < TOLERANCE, sorted(far.items(), key=lambda item: -item[1])[:5]


def first_weights(params: Params, images: TrainingImages) -> Weights:
    """Those that the training starts from."""
    head = build_head(
        params.train.head,
        channels=images.channels,
        layers=images.layers,
        hidden_width=images.hidden_width,
        segmenter=load_segmenter(params.active.segmenter, Path()),
        seed=params.seed,
    )
    return {name: value.clone() for name, value in head.state_dict().items()}
