"""Families that are spoken to in their own chat template, which says where each of several pictures stands."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from flmm.backbones.lmm import TransformersBackbone


class ChatTemplateBackbone(TransformersBackbone):
    """A family whose processor takes the pictures of a prompt as one list."""

    def words(self, text: str, pictures: int = 1) -> str:
        """The whole prompt of the user's ``text``, with one mark that stands for each picture."""
        return self.chat(text, pictures=pictures)

    def inputs(self, images: Sequence[Image.Image], text: str) -> Any:
        """What the processor makes of the user's ``text`` after the photographs, on the model's device."""
        pictures = [image.convert("RGB") for image in images]
        words = self.words(text, len(pictures))
        made = self.processor(images=pictures, text=words, return_tensors="pt", **self.options)
        return made.to(self.model.device, self.model.dtype)

    @property
    def options(self) -> dict[str, Any]:
        """What the processor is told besides."""
        return {}

    def several(self, images: Sequence[Image.Image], text: str) -> dict[str, Any]:
        """The photographs one after the other, before the text."""
        return dict(self.inputs(images, text))
