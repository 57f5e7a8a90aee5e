"""LMMs that were fine-tuned for grounding, and how they are compared with the frozen ones: docs/rivals.md."""
