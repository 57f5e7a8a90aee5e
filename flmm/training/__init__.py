"""The ``train`` step: cached attention and image embeddings in, a head and curves out; no LMM is loaded.

But where ``train.online`` says so: ``flmm.training.online``.
"""

from flmm.training.loop import train

__all__ = ["train"]
