"""Print the table of docs/results.md from reports/metrics.json, or the file that is named; --write changes the page."""

import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

BACKBONES = ("shapes-llava", "shapes-llava-next", "shapes-deepseek-vl")
PAGE = Path(__file__).parents[1] / "docs/results.md"
RES = {"benchmark": "refcoco", "split": "val", "protocol": "standard", "metric": "cIoU"}
PNG = {"benchmark": "png", "protocol": "standard", "metric": "AR"}
REASON = {"benchmark": "reasonseg", "metric": "gIoU"}
BOXES = {"benchmark": "viscot", "split": "shapes", "protocol": "answer-then-ground", "metric": "Pr@0.5"}
WAYS = ("named-object", "whole-question", "plain")
FAR, ALL = "far below", "all"
Records = list[dict[str, Any]]


def rows() -> list[tuple[str, str, Any]]:
    """What a row is of, the goal, and the figure of one backbone's records."""
    return [
        ("POPE accuracy of the frozen LMM, mean of three splits (a guess: 0.50)", "0.97", pope),
        ("MMBench-style circular accuracy (a guess: under 0.1)", "0.88",
         lambda r: sure(r, 3, benchmark="mmbench", head="none", metric="circular_accuracy")),
        ("RES val, protocol `standard`, cIoU: coarse masks", "68 / 67 / 63", lambda r: sure(r, 1, head="unet", **RES)),
        ("RES val, protocol `standard`, cIoU: refined masks", "88 / 88 / 84",
         lambda r: sure(r, 1, head="unet+sam", **RES)),
        ("PNG average recall, refined masks, all phrases", "87", lambda r: sure(r, 1, head="unet+sam", **PNG)),
        ("ReasonSeg-style questions, gIoU: refined masks", "60", lambda r: sure(r, 1, head="unet+sam", **REASON)),
        ("Visual-CoT-style questions, boxes at IoU 0.5: refined masks", "65",
         lambda r: sure(r, 1, head="unet+sam", **BOXES)),
        ("RES val, cIoU: untrained head (control), coarse / refined", FAR, lambda r: two(r, "untrained", RES)),
        ("PNG average recall: untrained head (control), coarse / refined", FAR, lambda r: two(r, "untrained", PNG)),
        ("ReasonSeg-style questions, gIoU: untrained head (control), coarse / refined", FAR,
         lambda r: two(r, "untrained", REASON)),
        ("RES val, cIoU: localization heads (no training), coarse / with SAM", "",
         lambda r: two(r, "localization", RES)),
        ("PNG average recall: localization heads (no training), coarse / with SAM", "",
         lambda r: two(r, "localization", PNG)),
        ("ReasonSeg-style questions, gIoU: localization heads (no training), coarse / with SAM", "",
         lambda r: two(r, "localization", REASON)),
        ("Visual-CoT `shapes`, exact answers: v1 (named object) / v2 (whole question) / v3 (one look)", "",
         lambda r: ways(r, WAYS, benchmark="viscot", split="shapes", metric="exact")),
        ("Visual-CoT `details`, exact answers: v1 / v2 / v3", "",
         lambda r: ways(r, WAYS, benchmark="viscot", split="details", metric="exact")),
        ("POPE accuracy on the questions that get a second look: looking first / one look", "",
         lambda r: ways(r, ("look-first", "plain"), benchmark="pope", metric="accuracy")),
        ("GCG, refined masks: AP50 / mIoU / mask recall by words", "",
         lambda r: several(r, ("AP50", "mIoU", "mask_recall_words"))),
        ("GCG: METEOR (words and stems) / CIDEr", "", lambda r: several(r, ("METEOR", "CIDEr"))),
        ("POPE and MMBench answers that equal the plain LMM's token for token", ALL, equal),
    ]  # fmt: skip


def found(records: Records, **wanted: str) -> Records:
    """The records of these words; at least one."""
    chosen = [record for record in records if all(record[key] == value for key, value in wanted.items())]
    if not chosen:
        raise LookupError(f"no record of {wanted}")
    return chosen


def sure(records: Records, digits: int, **wanted: str) -> str:
    """A figure with its 95 % interval."""
    (one, *_) = found(records, **wanted)
    return f"{one['value']:.{digits}f} ({one['low']:.{digits}f}-{one['high']:.{digits}f})"


def two(records: Records, head: str, wanted: dict[str, str]) -> str:
    """Coarse and refined."""
    values = [found(records, head=name, **wanted)[0]["value"] for name in (head, f"{head}+sam")]
    return " / ".join(f"{value:.1f}" for value in values)


def ways(records: Records, protocols: tuple[str, ...], **wanted: str) -> str:
    """A figure of each way of the chain of thought, the mean over its splits."""
    digits = 3 if wanted["benchmark"] == "pope" else 1
    values = [mean(one["value"] for one in found(records, protocol=each, **wanted)) for each in protocols]
    return " / ".join(f"{value:.{digits}f}" for value in values)


def several(records: Records, metrics: tuple[str, ...]) -> str:
    """Figures of the descriptions."""
    values = [
        found(records, benchmark="grandf", head="unet+sam", metric=metric)[0]["value"] for metric in metrics
    ]
    return " / ".join(f"{value:.1f}" for value in values)


def pope(records: Records) -> str:
    """The mean of the splits."""
    asked = found(records, benchmark="pope", protocol="upstream", head="none", metric="accuracy")
    return f"{mean(one['value'] for one in asked):.3f}"


def equal(records: Records) -> str:
    """All, or the least share."""
    least = min(one["value"] for one in found(records, metric="answers_equal"))
    return ALL if least == 1 else f"{least:.3f}"


def table(records: Records) -> str:
    """The whole table in Markdown."""
    each = [[record for record in records if record["backbone"] == name] for name in BACKBONES]
    lines = [
        f"| | goal | {' | '.join(f'`{name}`' for name in BACKBONES)} |",
        "|---" * (2 + len(BACKBONES)) + "|",
        *(
            f"| {name} | {goal} | {' | '.join(figure(one) for one in each)} |"
            for name, goal, figure in rows()
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    made = table(json.loads(Path(names[0] if names else "reports/metrics.json").read_text(encoding="utf-8")))
    print(made)
    if "--write" in sys.argv:
        text = PAGE.read_text(encoding="utf-8")
        pattern = r"(<!-- figures -->\n).*?(\n<!-- /figures -->)"
        PAGE.write_text(re.sub(pattern, lambda m: m[1] + made + m[2], text, flags=re.S), encoding="utf-8")
