"""LLaVA-Next: a coarse grid of the squashed photograph and a fine one of its tiles; 2 x layers x heads channels."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from flmm.backbones.anyres import anyres_prompt
from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.registry import register
from flmm.errors import InputError

# docs/families.md: by the language model's `model_type`; no system message.
_TEMPLATES = {"llama": "USER: {image}\n{text} ASSISTANT:", "mistral": "[INST] {image}\n{text} [/INST]"}


@register("llava_next")
class LlavaNext(TransformersBackbone):
    """``LlavaNextForConditionalGeneration`` with Vicuna or Mistral.

    docs/families.md, LLaVA-Next: base view squashed, then the tiles of the best any-resolution canvas, padding removed;
    all coarse channels, then all fine ones.
    """

    model_types = frozenset({"llava_next"})

    def words(self, text: str, pictures: int = 1) -> str:
        """In the template that the authors used for this language model.

        Raises:
            InputError: the language model is one whose template the authors did not use (names it).
        """
        kind = self.model.config.text_config.model_type
        template = _TEMPLATES.get(kind)
        if template is None:
            raise InputError(
                f"{self.name}: family llava_next has templates for {' and '.join(_TEMPLATES)}, "
                f"not for a {kind!r} language model"
            )
        return template.format(image="\n".join([self.processor.image_token] * pictures), text=text)

    def turn(self, text: str) -> str:
        """A later question, in the same template."""
        template = _TEMPLATES[self.model.config.text_config.model_type]
        return template.replace("{image}\n", "").format(text=text)

    def encode(self, image: Image.Image, text: str) -> Prompt:
        """The prompt.

        Raises:
            InputError: as ``words``.
        """
        inputs = self._inputs([image], text)
        size = (image.height, image.width)
        return anyres_prompt(
            self.model,
            inputs,
            size,
            self.name,
            vision_feature_select_strategy=self.model.config.vision_feature_select_strategy,
        )

    def several(self, images: Sequence[Image.Image], text: str) -> dict[str, Any]:
        """Each photograph with its tiles, one after the other.

        Raises:
            InputError: as ``words``.
        """
        return dict(self._inputs(images, text))

    def _inputs(self, images: Sequence[Image.Image], text: str) -> Any:
        return self.processor(
            images=[image.convert("RGB") for image in images],
            text=self.words(text, len(images)),
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)
