"""Compare reports/metrics.json of the shapes suite with what it has to reach. Run as .ci/check_figures.py [FILE]."""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

# The untrained head must stay this far (percent points) below the trained one: a metric that cannot fail shows nothing.
CONTROL_GAP = 30.0


def check(records: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """What was measured and the least that it has to be; a figure that is missing raises ``LookupError``."""

    def values(**wanted: str) -> list[float]:
        found = [r["value"] for r in records if all(r[key] == value for key, value in wanted.items())]
        if not found:
            raise LookupError(f"no record of {wanted}")
        return found

    refcoco = {"benchmark": "refcoco", "split": "val", "protocol": "standard", "metric": "cIoU"}
    narratives = {"benchmark": "png", "protocol": "standard", "metric": "AR"}
    coarse, refined = values(head="unet", **refcoco)[0], values(head="unet+sam", **refcoco)[0]
    recall = values(head="unet+sam", **narratives)[0]
    untrained = max(r["value"] for r in records if r["head"].startswith("untrained") and _same(r, refcoco))
    untrained_recall = max(
        r["value"] for r in records if r["head"].startswith("untrained") and _same(r, narratives)
    )
    questions = {"benchmark": "reasonseg", "metric": "gIoU"}
    answered = values(head="unet+sam", **questions)[0] - values(head="untrained+sam", **questions)[0]
    pope = values(benchmark="pope", head="none", metric="accuracy")
    if len(pope) != 3:
        raise LookupError(f"POPE accuracy of {len(pope)} splits, not 3")
    return [
        ("POPE accuracy, mean of three splits", mean(pope), 0.90),
        (
            "MMBench circular accuracy",
            values(benchmark="mmbench", head="none", metric="circular_accuracy")[0],
            0.75,
        ),
        # The goals are 65 and 80 (docs/results.md): not reached yet. These bounds only keep what is there.
        ("RES val cIoU, coarse (goal 65)", coarse, 54.0),
        ("RES val cIoU, refined (goal 80)", refined, 74.0),
        ("PNG average recall, refined", recall, 70.0),
        ("RES val cIoU, refined above untrained", refined - untrained, CONTROL_GAP),
        ("PNG average recall, refined above untrained", recall - untrained_recall, CONTROL_GAP),
        ("ReasonSeg-style gIoU, refined above untrained", answered, 20.0),
        ("answers equal with the head attached", min(values(metric="answers_equal")), 1.0),
    ]


def _same(record: dict[str, Any], wanted: dict[str, str]) -> bool:
    return all(record[key] == value for key, value in wanted.items())


def main() -> int:
    """Print every figure; 1 if one is too low."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "reports/metrics.json")
    failed = 0
    try:
        figures = check(json.loads(path.read_text(encoding="utf-8")))
    except (LookupError, OSError, ValueError) as error:
        print(f"{path}: {error}")
        return 1
    for name, measured, least in figures:
        failed += measured < least
        print(f"{'ok ' if measured >= least else 'LOW'} {name}: {measured:.3f} (at least {least})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
