"""Every head that results name, and what people read of it: the one list. How each is built: ``flmm.heads.evaluated``.

A head makes coarse masks, filed under its name, and refined ones, filed under ``<name>+sam``.
"""

from dataclasses import dataclass

PLAIN = "none"  # the frozen LMM alone, which makes no mask: answers to questions only
TRAINED, UNTRAINED, LOCALIZATION = "unet", "untrained", "localization"


@dataclass(frozen=True)
class Words:
    """What a head's masks are called; the short forms are for a terminal's narrow columns."""

    coarse: str
    refined: str
    short_coarse: str
    short_refined: str


# In the order in which tables show them: what the method is compared with comes first.
HEADS = {
    UNTRAINED: Words(
        "untrained head, coarse (control)",
        "untrained head, refined (control)",
        "untrained, coarse",
        "untrained, refined",
    ),
    LOCALIZATION: Words(
        "localization heads, coarse (no training)",
        "localization heads + SAM (no training)",
        "localization heads",
        "localization + SAM",
    ),
    TRAINED: Words("coarse masks (U-Net)", "refined masks (U-Net + SAM)", "coarse", "refined"),
}


def refined(name: str) -> str:
    """The name under which a head's refined masks are filed."""
    return f"{name}+sam"


COARSE, REFINED = TRAINED, refined(TRAINED)  # the method's own masks
ATTACHED = REFINED  # the name of answers that were given while the trained head was at work


def labels() -> dict[str, str]:
    """What each kind of masks is called, in the order of tables."""
    found = {PLAIN: "plain LMM, no head"}
    for name, words in HEADS.items():
        found |= {name: words.coarse, refined(name): words.refined}
    return found


def short_labels() -> dict[str, str]:
    """The same in few letters."""
    found = {PLAIN: "plain LMM"}
    for name, words in HEADS.items():
        found |= {name: words.short_coarse, refined(name): words.short_refined}
    return found
