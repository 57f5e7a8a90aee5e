"""HPT: CLIP or SigLIP on a larger picture, an MLP and a language model, published as three folders.

What the folders hold computes what LLaVA computes, so they are read into transformers' LLaVA; no code of theirs is
run, but for a tokenizer that transformers does not know (HPT Air, with ``trust_remote_code``).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    ProcessorMixin,
)

from flmm.backbones import internlm2
from flmm.backbones.llava import Llava
from flmm.backbones.parts import part_config, part_weights, renamed
from flmm.backbones.registry import register
from flmm.errors import InputError

_PARTS = ("visual_encoder", "projector", "llm")
_SIDES = {"clip_vision_model": 392, "siglip_vision_model": 448}  # HPT Air, HPT 1.5 Air
_WITH_CLASS = {"clip_vision_model"}  # encoders with a class token before the patches
_PREFIXES = {
    "visual_encoder/vision_model.embeddings.position_ids": "",
    "visual_encoder/vision_model.": "model.vision_tower.",
    "projector/model.0.": "model.multi_modal_projector.linear_1.",
    "projector/model.2.": "model.multi_modal_projector.linear_2.",
    "llm/model.": "model.language_model.",
    "llm/lm_head.": "lm_head.",
}


@dataclass(frozen=True)
class _Speech:
    """How a language model is spoken to.

    ``image``: a token that no text holds stands for the picture. ``between``: what follows the end of an answer.
    """

    template: str
    image: str
    stops: tuple[str, ...]
    between: str = ""


_SPEECH = {
    "internlm2": _Speech(
        "<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
        "<unk>",
        ("<|im_end|>", "</s>"),
        between="\n",
    ),
    "llama": _Speech(
        "<|start_header_id|>user<|end_header_id|>\n\n{input}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|reserved_special_token_0|>",
        ("<|eot_id|>", "<|end_of_text|>"),
    ),
}


@register("hpt")
class HPT(Llava):
    """HPT Air (CLIP, InternLM2) and HPT 1.5 Air (SigLIP, LLaMA 3) as ``LlavaForConditionalGeneration``.

    docs/families.md, HPT: position embeddings enlarged bicubically to 392 (CLIP) or 448 pixels (SigLIP), hidden layer
    -2; letterboxed with the processor's mean colour; C = layers x heads, layer-major.
    """

    model_types = frozenset()
    model_class = LlavaForConditionalGeneration

    @classmethod
    def read_config(cls, source: str, options: dict[str, Any]) -> LlavaConfig:
        """A LLaVA configuration put together from the three folders' files."""
        projector, language = (part_config(source, part, options) for part in ("projector", "llm"))
        if projector.get("depth", 2) != 2:
            raise InputError(f"{source}: projector/config.json: depth is {projector['depth']}, not 2")
        kind = language.get("model_type")
        if kind not in _SPEECH:
            raise InputError(
                f"{source}: llm/config.json: model_type is {kind!r}, but HPT speaks with {', '.join(_SPEECH)}"
            )
        vision = AutoConfig.from_pretrained(source, subfolder="visual_encoder", **options)
        vision = getattr(vision, "vision_config", vision)
        if vision.model_type not in _SIDES:
            raise InputError(
                f"{source}: visual_encoder/config.json: {vision.model_type!r} is neither CLIP nor SigLIP"
            )
        vision.image_size = _SIDES[vision.model_type]
        vision.vision_use_head = False  # SigLIP's pooling: LLaVA reads the patches
        words = _tokenizer(source, options).get_vocab()
        if _SPEECH[kind].image not in words:
            raise InputError(
                f"{source}: its tokenizer has no token {_SPEECH[kind].image!r} to stand for the picture"
            )
        config: Any = LlavaConfig
        made: LlavaConfig = config(
            text_config=internlm2.llama_config(language)
            if kind == "internlm2"
            else LlamaConfig.from_dict(language),
            vision_config=vision,
            image_token_index=words[_SPEECH[kind].image],
            projector_hidden_act=projector.get("hidden_act", "gelu"),
            multimodal_projector_bias=projector.get("bias", True),
            vision_feature_layer=-2,
            vision_feature_select_strategy="default" if vision.model_type in _WITH_CLASS else "full",
            eos_token_id=[words[stop] for stop in _SPEECH[kind].stops if stop in words],
            speech=kind,
        )
        return made

    @classmethod
    def read_processor(cls, source: str, config: Any, options: dict[str, Any]) -> ProcessorMixin:
        """The vision encoder's image processor with the language model's tokenizer."""
        vision = config.vision_config
        return LlavaProcessor(
            image_processor=AutoImageProcessor.from_pretrained(source, subfolder="visual_encoder", **options),
            tokenizer=_tokenizer(source, options),
            patch_size=vision.patch_size,
            vision_feature_select_strategy=config.vision_feature_select_strategy,
            image_token=_SPEECH[config.speech].image,
            num_additional_image_tokens=int(vision.model_type in _WITH_CLASS),
        )

    @classmethod
    def read_weights(cls, source: str, config: Any, options: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Every tensor of the three folders, under LLaVA's names."""
        found = {
            key: value
            for key, value in part_weights(source, _PARTS, options).items()
            if not key.startswith("visual_encoder/vision_model.head.")
            and not key.endswith("rotary_emb.inv_freq")
        }
        if config.speech == "internlm2":
            spoken = {
                key.removeprefix("llm/"): found.pop(key) for key in list(found) if key.startswith("llm/")
            }
            spoken = internlm2.llama_weights(spoken, config.text_config)
            found |= {f"llm/{key}": value for key, value in spoken.items()}
        places = "visual_encoder/vision_model.embeddings.position_embedding.weight"
        vision = config.vision_config
        if places in found:
            extra = int(vision.model_type in _WITH_CLASS)
            found[places] = enlarged(found[places], vision.image_size // vision.patch_size, extra)
        return renamed(found, _PREFIXES, source)

    def words(self, text: str, pictures: int = 1) -> str:
        template = _SPEECH[self.model.config.speech].template
        return template.replace("{input}", pictures * f"{self.processor.image_token}\n" + text)

    def turn(self, text: str) -> str:
        speech = _SPEECH[self.model.config.speech]
        return speech.between + speech.template.replace("{input}", text)


def enlarged(places: torch.Tensor, side: int, extra: int) -> torch.Tensor:
    """Position embeddings (extra + n * n, D) for a grid of side x side patches, bicubic; the first stay."""
    old = int((len(places) - extra) ** 0.5)
    grid = places[extra:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, D, n, n)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([places[:extra].float(), grid[0].flatten(1).T]).to(places.dtype)


def _tokenizer(source: str, options: dict[str, Any]) -> Any:
    return AutoTokenizer.from_pretrained(source, subfolder="llm", **options)
