"""F-LMM Pipeline: pixels out of large multimodal models that stay frozen (arXiv 2406.05821)."""

__version__ = "0.1.0"
