"""The paper's own figures (Wu et al., arXiv 2406.05821): constants to print beside ours, never measured here.

They are on COCO photographs. A result on the shapes suite is on another data set, and the page says so.
"""

from dataclasses import dataclass

SOURCE = "Wu et al., F-LMM, CVPR 2025, arXiv 2406.05821"


@dataclass(frozen=True)
class PublishedRow:
    """One backbone's published figures, in percent, by (benchmark, split)."""

    backbone: str
    values: dict[tuple[str, str], float]


# Refined masks, the authors' evaluation scripts: our protocol `paper`. RES: cIoU; PNG: AR, all phrases.
GROUNDING: tuple[PublishedRow, ...] = (
    PublishedRow("LLaVA-Next-Mistral-7B", {("refcoco", "val"): 75.7, ("png", "val"): 66.5}),
    PublishedRow("DeepSeek-VL-7B", {("refcoco", "val"): 76.1, ("png", "val"): 65.7}),
)

# What each prompt of the refiner adds: PNG average recall, all phrases.
REFINER_ABLATION: tuple[tuple[str, float], ...] = (
    ("no refiner", 50.8),
    ("+ mask prompt", 63.4),
    ("+ box prompt", 63.7),
    ("+ text prompt", 64.9),
)

# Which words of an answer are grounded, on PNG: F1 in percent.
KEYWORDS: tuple[tuple[str, float], ...] = (("the keyword selector", 82.8), ("spaCy", 57.8))
