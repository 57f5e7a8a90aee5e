"""What a model and a segmenter cost, from their configurations: bytes and operations. Measured times: ``times``."""

import json
from dataclasses import dataclass
from pathlib import Path

from flmm.params import BackboneEntry, Params

# Assumptions of the estimates; `flmm plan` prints them.
PROMPT_TOKENS = 60  # of the words around an image, or of a question
PHRASE_TOKENS = 8  # spoken per phrase, with the words between phrases
RATE = 1.2e14  # floating-point operations per second: 40 % of an A100's bfloat16 peak
BANDWIDTH = 1.5e12  # bytes per second: an A100 reads all weights once for each generated token
WEIGHT = 2  # bytes of a parameter
TOGETHER = 16  # questions about a picture that are answered side by side (flmm.backbones.questions)


@dataclass(frozen=True)
class Speed:
    """Seconds per parameter of a model: of a token that it reads, and of one that it generates."""

    read: float
    generated: float


# A token that is read multiplies and adds with every parameter once; of one that is generated only the reading counts.
A100 = Speed(read=2 / RATE, generated=WEIGHT / BANDWIDTH)


@dataclass(frozen=True)
class Shape:
    """What the cost of a model hangs on; ``cells``: image tokens of a 480 x 640 photograph, per grid."""

    parameters: float
    layers: int
    heads: int
    width: int
    cells: tuple[int, ...]

    @property
    def image_tokens(self) -> int:
        """Of all grids."""
        return sum(self.cells)

    @property
    def weights(self) -> float:
        """Bytes of all parameters."""
        return WEIGHT * self.parameters

    def speaking_seconds(self, prompts: int, phrases: int, speed: Speed = A100) -> float:
        """To read ``prompts`` images and be made to speak ``phrases``: all answers of an image share its prompt."""
        tokens = prompts * (self.image_tokens + PROMPT_TOKENS) + phrases * PHRASE_TOKENS
        return self.parameters * tokens * speed.read

    def answering_seconds(self, pictures: int, questions: int, new_tokens: int, speed: Speed = A100) -> float:
        """To answer ``questions`` about ``pictures`` with ``new_tokens`` each: those about one picture together."""
        tokens = pictures * (self.image_tokens + PROMPT_TOKENS) + (questions - pictures) * PROMPT_TOKENS
        rounds = max(pictures, questions / TOGETHER)
        return self.parameters * (tokens * speed.read + rounds * new_tokens * speed.generated)


# The paper's backbones, from their published configurations. LLaVA-Next sees 2,304 to 2,880 image tokens: the more, the
# squarer the photograph.
_SHAPES = {
    "llava-1.5-7b": Shape(7.1e9, 32, 32, 4096, (576,)),
    "llava-next-vicuna-7b": Shape(7.1e9, 32, 32, 4096, (576, 1728)),
    "llava-next-mistral-7b": Shape(7.6e9, 32, 32, 4096, (576, 1728)),
    "deepseek-vl-1.3b": Shape(2.0e9, 24, 16, 2048, (576,)),
    "deepseek-vl-7b": Shape(7.3e9, 30, 32, 4096, (576,)),
    "mgm-2b": Shape(3.0e9, 18, 8, 2048, (576,)),
    "mgm-7b": Shape(7.3e9, 32, 32, 4096, (576,)),
    "mgm-7b-hd": Shape(7.3e9, 32, 32, 4096, (576, 2304)),
    "hpt-air": Shape(8.1e9, 32, 32, 4096, (784,)),
    "hpt-1.5-air": Shape(8.5e9, 32, 32, 4096, (1024,)),
}
LLAVA_7B = _SHAPES["llava-1.5-7b"]  # at whose sizes times are measured


def shape_of(name: str, entry: BackboneEntry) -> Shape | None:
    """A model's shape; None where its configuration is not on this machine and not among the paper's."""
    if name in _SHAPES:
        return _SHAPES[name]
    from flmm.contract.facts import facts  # imports torch

    found = facts(entry)
    if found is None:
        return None
    cells = tuple(grid.rows * grid.columns for grid in found.grids)
    heads = found.channels // len(cells) // found.layers
    return Shape(found.parameters, found.layers, heads, found.width, cells)


def embedding_shape(params: Params) -> tuple[int, int]:
    """Channels and side of an image embedding: of the segmenter's configuration, else of SAM as published."""
    file = Path(params.active.segmenter.checkpoint) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return int(config["encoder"]["out_chans"]), int(config["img_size"]) // int(config["patch_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 256, 64  # SAM ViT-B, -L and -H and SAM 2 alike
