"""Processors of model directories that were saved before transformers kept all their settings in them."""

from typing import Any

from flmm.errors import InputError

# Vision towers with a class token before the patches, which a processor has to count.
_WITH_CLASS = {"clip_vision_model"}


def complete(processor: Any, config: Any, source: str) -> None:
    """Give a processor the settings that it lacks, from ``config``: without them it cannot count image tokens.

    ``patch_size``, ``vision_feature_select_strategy``, ``num_image_tokens`` and the class token among
    ``num_additional_image_tokens``. What the processor says itself stays.

    Raises:
        InputError: a setting is in neither (names the key).
    """
    vision = getattr(config, "vision_config", None)
    patch = getattr(vision, "patch_size", None)
    side = getattr(vision, "image_size", None)
    known = {
        "patch_size": patch,
        "vision_feature_select_strategy": getattr(config, "vision_feature_select_strategy", None),
        "num_image_tokens": (side // patch) ** 2
        if isinstance(side, int) and isinstance(patch, int)
        else None,
    }
    for key, value in known.items():
        if not hasattr(processor, key) or getattr(processor, key) is not None:
            continue
        if value is None:
            raise InputError(f"{source}: {key} is neither in processor_config.json nor in config.json")
        setattr(processor, key, value)
    counts_patches = getattr(processor, "vision_feature_select_strategy", None) == "default"
    without_class = getattr(processor, "num_additional_image_tokens", None) == 0
    if counts_patches and without_class and getattr(vision, "model_type", None) in _WITH_CLASS:
        processor.num_additional_image_tokens = 1
