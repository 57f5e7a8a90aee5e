"""F-LMM Pipeline: pixels out of large multimodal models that stay frozen (arXiv 2406.05821).

``flmm.Grounder`` turns a picture and words into masks; it is imported on first use, because torch takes a while.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flmm.predictor import Answered, Grounded, Grounder

__version__ = "0.2.0"
__all__ = ["Answered", "Grounded", "Grounder"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flmm import predictor

    return getattr(predictor, name)
