"""The ``train`` step: cached attention and image embeddings in, a head and curves out; no LMM is loaded."""

from flmm.training.loop import train

__all__ = ["train"]
