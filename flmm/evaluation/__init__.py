"""The ``evaluate`` step: grounding metrics under two protocols, and answers with and without the head.

What each number means and where it is defined: ``docs/protocols.md``.
"""

from flmm.evaluation.run import evaluate

__all__ = ["evaluate"]
