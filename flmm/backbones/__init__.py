"""Frozen LMMs: one contract, one attention tap, one short file per model family."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flmm.backbones.base import Backbone
    from flmm.params import BackboneEntry


def load(entry: "BackboneEntry", *, dtype: str, device: str) -> "Backbone":
    """Load a catalogue entry as a frozen backbone in eval mode: no weight requires grad.

    ``dtype``: float32, bfloat16 or float16; ``device``: auto, cpu or cuda. ``entry.model`` is a directory, or
    else a hub name at ``entry.revision``. Code from the model's directory runs only with
    ``entry.trust_remote_code``.

    Raises:
        InputError: unknown family (lists the known ones); no such directory; not a model directory; a model
        of another
            type, or without a 2-D grid; weights absent, left over or damaged; no GPU.
    """
    # transformers takes seconds to import, and the contract (`base`) is imported by steps that never load an
    # LMM.
    from flmm.backbones.loading import load as load_entry

    return load_entry(entry, dtype=dtype, device=device)
