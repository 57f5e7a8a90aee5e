"""What a model costs, told from its configuration alone: no weight is read."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.registry import family
from flmm.params import BackboneEntry

PHOTOGRAPH = (480, 640)  # (height, width): a usual COCO photograph
PHRASE_TOKENS = 3


@dataclass(frozen=True)
class Facts:
    """Of one model: parameters, decoder layers, hidden width, channels of all grids, grids of a photograph, bytes.

    ``weights``: of all parameters in two bytes each, what the GPU holds before any photograph. ``phrase``: what the
    attention cache keeps of a phrase of three tokens: maps and hidden states in log8, with a float32 scale each.
    """

    parameters: int
    layers: int
    width: int
    channels: int
    grids: tuple[Grid, ...]
    weights: int
    phrase: int


def facts(entry: BackboneEntry) -> Facts | None:
    """The facts of a catalogue entry; None if its configuration or its processor is not on this machine."""
    options: dict[str, Any] = {
        "revision": entry.revision,
        "trust_remote_code": entry.trust_remote_code,
        "local_files_only": True,
    }
    try:
        kind = family(entry.family)
        config = kind.read_config(entry.model, options)
        processor = kind.read_processor(entry.model, config, options)
    except (OSError, ValueError):
        return None
    with torch.device("meta"):
        # transformers' Auto classes build from a configuration by a method of their own.
        build: Any = getattr(kind.model_class, "from_config", kind.model_class)
        model = build(config)
    text = config.get_text_config()
    grids = _grids(entry, model, processor)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    channels = text.num_hidden_layers * text.num_attention_heads
    maps = sum(channels * (grid.rows * grid.columns + 4) for grid in grids)
    hidden = text.num_hidden_layers * PHRASE_TOKENS * (text.hidden_size + 4)
    return Facts(
        parameters,
        text.num_hidden_layers,
        text.hidden_size,
        channels * len(grids),
        grids,
        2 * parameters,
        maps + hidden,
    )


def _grids(entry: BackboneEntry, model: Any, processor: Any) -> tuple[Grid, ...]:
    """The grids of a photograph: a family's ``encode`` needs the model's configuration, not its weights."""
    kind = family(entry.family)
    sketch = TransformersBackbone.__new__(kind)
    sketch.model = SimpleNamespace(
        config=model.config, model=model.model, device=torch.device("cpu"), dtype=torch.float32
    )
    sketch.processor, sketch.tokenizer, sketch.name = processor, processor.tokenizer, entry.model
    return sketch.encode(Image.new("RGB", PHOTOGRAPH[::-1]), "x").grids
