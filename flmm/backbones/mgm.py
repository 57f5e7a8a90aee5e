"""MGM (Mini-Gemini): CLIP's patches, refined by a ConvNeXt on a larger picture; not in transformers."""

import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedConfig,
    ProcessorMixin,
)

from flmm.backbones.base import Grid
from flmm.backbones.grids import padded
from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.mining import MGMForConditionalGeneration
from flmm.backbones.parts import part_config, part_weights, renamed
from flmm.backbones.registry import register
from flmm.errors import InputError

_IMAGE = "<unk>"  # a token that no prompt holds: it stands for the picture
_LANGUAGES: dict[str, tuple[type[PreTrainedConfig], str]] = {
    "mgm": (LlamaConfig, "USER: {input} ASSISTANT:"),
    "mgm_gemma": (GemmaConfig, "<start_of_turn>user\n{input}<end_of_turn>\n<start_of_turn>model\n"),
}
# The auxiliary encoders, by what the published configurations call them: ConvNeXt's widths and depths.
_AUXILIARY = {
    "convnext-large": ([192, 384, 768, 1536], [3, 3, 27, 3]),
    "convnext-base": ([128, 256, 512, 1024], [3, 3, 27, 3]),
    "convnext-xxlarge": ([384, 768, 1536, 3072], [3, 4, 30, 3]),
}
_PREFIXES = {
    "./model.vision_tower.vision_tower.vision_model.embeddings.position_ids": "",
    "./model.vision_tower.vision_tower.vision_model.": "model.vision_tower.",
    "./model.vision_tower_aux.vision_stem.0.": "model.auxiliary.embeddings.patch_embeddings.",
    "./model.vision_tower_aux.vision_stem.1.": "model.auxiliary.embeddings.layernorm.",
    "./model.vision_tower_aux.vision_stages.": "model.auxiliary.stages.",
    "./model.vlm_uni_query_projector.": "model.mining.query.",
    "./model.vlm_uni_aux_projector.": "model.mining.key.",
    "./model.vlm_uni_val_projector.": "model.mining.value.",
    "./model.mm_projector.0.": "model.multi_modal_projector.linear_1.",
    "./model.mm_projector.2.": "model.multi_modal_projector.linear_2.",
    "./model.embed_tokens.": "model.language_model.embed_tokens.",
    "./model.layers.": "model.language_model.layers.",
    "./model.norm.": "model.language_model.norm.",
    "./lm_head.": "lm_head.",
}
# timm's names inside a ConvNeXt stage (which MGM saved) and transformers'.
_STAGE = {
    ".downsample.": ".downsampling_layer.",
    ".blocks.": ".layers.",
    ".conv_dw.": ".dwconv.",
    ".norm.": ".layernorm.",
    ".mlp.fc1.": ".pwconv1.",
    ".mlp.fc2.": ".pwconv2.",
}


@register("mgm")
class MGM(TransformersBackbone):
    """``MGMForConditionalGeneration`` with Vicuna (7B, 7B-HD) or Gemma (2B).

    docs/families.md, MGM: padded to a square with CLIP's mean colour and resized then; one grid, or for
    HD the whole picture's (coarse) and the tiles' as one (fine).
    """

    model_types = frozenset()
    model_class = MGMForConditionalGeneration
    published_by_layer = True

    @classmethod
    def read_config(cls, source: str, options: dict[str, Any]) -> LlavaConfig:
        """The configuration, from MGM's ``config.json`` and that of its CLIP."""
        found = part_config(source, ".", options)
        kind = found.get("model_type")
        if kind not in _LANGUAGES:
            raise InputError(
                f"{source}: config.json: model_type is {kind!r}, but family 'mgm' reads {', '.join(_LANGUAGES)}"
            )
        if found.get("mm_projector_type") != "mlp2x_gelu":
            raise InputError(f"{source}: config.json: mm_projector_type is not 'mlp2x_gelu'")
        language = _LANGUAGES[kind][0].from_dict(found | {"model_type": _LANGUAGES[kind][0].model_type})
        tower = _tower(source, found["mm_vision_tower"])
        vision = CLIPVisionConfig.from_pretrained(tower, **_of_tower(options))
        widths, depths = _auxiliary(source, found["mm_vision_tower_aux"])
        words = AutoTokenizer.from_pretrained(source, **options)
        config: Any = LlavaConfig
        made: LlavaConfig = config(
            text_config=language,
            vision_config=vision,
            image_token_index=words.convert_tokens_to_ids(_IMAGE),
            vision_feature_layer=found.get("mm_vision_select_layer", -2),
            tie_word_embeddings=language.tie_word_embeddings,
            eos_token_id=words.eos_token_id,
            auxiliary={"hidden_sizes": widths, "depths": depths},
            side=found["image_size_aux"],
            tiles=found.get("image_grid", 1),
            whole=found.get("image_grid", 1) > 1 and found.get("image_global", False),
            tower=tower,
            speech=kind,
        )
        return made

    @classmethod
    def read_processor(cls, source: str, config: Any, options: dict[str, Any]) -> ProcessorMixin:
        """CLIP's normalization with MGM's tokenizer."""
        return LlavaProcessor(
            image_processor=CLIPImageProcessor.from_pretrained(config.tower, **_of_tower(options)),
            tokenizer=AutoTokenizer.from_pretrained(source, **options),
            image_token=_IMAGE,
        )

    @classmethod
    def read_weights(cls, source: str, config: Any, options: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Every tensor of the published index, under our names."""
        weights = {
            _stage(key): value
            for key, value in part_weights(source, ["."], options).items()
            if not key.endswith("rotary_emb.inv_freq")
        }
        if config.tie_word_embeddings:  # a published index may hold the tied matrix twice
            weights.pop("./lm_head.weight", None)
        return renamed(weights, _PREFIXES, source)

    def words(self, text: str, pictures: int = 1) -> str:
        """The authors' template; its prompt has as many marks as tokens."""
        return _LANGUAGES[self.model.config.speech][1].replace("{input}", f"{_IMAGE * pictures}\n{text}")

    def turn(self, text: str) -> str:
        """A later question, in the same template."""
        return _LANGUAGES[self.model.config.speech][1].replace("{input}", text)

    def encode(self, image: Image.Image, text: str) -> Prompt:
        """The prompt; its picture is normalized, but not yet in the model's precision.

        Raises:
            InputError: the text holds the token that stands for the picture.
        """
        config, images = self.model.config, self.processor.image_processor
        canvas, view = padded(image, config.side, images.image_mean, images.resample)
        pixels = images(canvas, do_resize=False, do_center_crop=False, return_tensors="pt").pixel_values
        side = config.vision_config.image_size // config.vision_config.patch_size
        fine = Grid("fine" if config.whole else "image", config.tiles * side, config.tiles * side, view)
        grids = (Grid("coarse", side, side, view), fine) if config.whole else (fine,)
        count = sum(grid.rows * grid.columns for grid in grids)
        inputs = self.tokenizer(self.words(text, count), return_tensors="pt").to(self.model.device)
        places = (inputs["input_ids"][0] == config.image_token_id).nonzero().flatten()
        if len(places) != count:
            raise InputError(
                f"{self.name}: {text!r} holds {_IMAGE}, which stands for the picture in a prompt"
            )
        columns = [_row_major(places[-((config.tiles * side) ** 2) :], config.tiles, side)]
        if config.whole:
            columns.insert(0, places[: side * side])
        # Not in the model's precision yet: CLIP's views are made from them first, as MGM's own processor does.
        return Prompt({**inputs, "pixel_values": pixels.to(self.model.device)}, grids, tuple(columns))


def _row_major(places: torch.Tensor, tiles: int, side: int) -> torch.Tensor:
    """Places of tokens, tile after tile, in the order of one grid of (tiles * side) x (tiles * side)."""
    return places.reshape(tiles, tiles, side, side).permute(0, 2, 1, 3).flatten()


def _stage(key: str) -> str:
    """A key of a ConvNeXt stage under transformers' name; any other as it is."""
    if ".vision_stages." not in key:
        return key
    for old, new in _STAGE.items():
        key = key.replace(old, new)
    return re.sub(r"\.gamma$", ".layer_scale_parameter", key)


def _tower(source: str, name: str) -> str:
    """The CLIP that a configuration names by a path of its authors: a folder beside it, else OpenAI's on the hub."""
    beside = Path(source) / Path(name).name
    return str(beside) if beside.is_dir() else f"openai/{Path(name).name}"


def _of_tower(options: dict[str, Any]) -> dict[str, Any]:
    """The options that hold for its CLIP too; revision and code are MGM's own."""
    return {key: value for key, value in options.items() if key == "local_files_only"}


def _auxiliary(source: str, name: str) -> tuple[list[int], list[int]]:
    """Widths and depths of the auxiliary encoder: by its published name, or of the ConvNeXt in a folder beside."""
    beside = Path(source) / Path(name).name
    if beside.is_dir():
        config, _ = PreTrainedConfig.get_config_dict(str(beside))
        return config["hidden_sizes"], config["depths"]
    known = next((sizes for part, sizes in _AUXILIARY.items() if part in name.replace("_", "-")), None)
    if known is None:
        raise InputError(
            f"{source}: config.json: mm_vision_tower_aux {name!r} is none of {', '.join(_AUXILIARY)}"
        )
    return known
