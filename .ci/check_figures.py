"""Compare reports/metrics.json of the shapes suite with what it has to reach. Run as .ci/check_figures.py [FILE]."""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

# The untrained head must stay this far (percent points) below the trained one: a metric that cannot fail shows nothing.
CONTROL_GAP = 30.0


# The least that is to be seen of each backbone; the goals, and what is short of them, are in docs/results.md.
BOUNDS = {
    "shapes-llava": {"coarse": 65.0, "refined": 86.0, "recall": 85.0},
    "shapes-llava-next": {"coarse": 65.0, "refined": 86.0, "recall": 85.0},
    "shapes-deepseek-vl": {"coarse": 61.0, "refined": 83.0, "recall": 84.0},
}
# The same for all: what questions need, and answers.
POPE, MMBENCH, REASONSEG, BOXES = 0.94, 0.83, 60.0, 65.0
Figure = tuple[str, float, float]


def check(records: list[dict[str, Any]]) -> list[Figure]:
    """What was measured and the least that it has to be; a figure that is missing raises ``LookupError``."""
    return [
        (f"{backbone}: {name}", measured, least)
        for backbone, bounds in BOUNDS.items()
        for name, measured, least in _check_one(
            [record for record in records if record["backbone"] == backbone], bounds
        )
    ]


def _check_one(records: list[dict[str, Any]], bounds: dict[str, float]) -> list[Figure]:
    def values(**wanted: str) -> list[float]:
        found = [record["value"] for record in records if _same(record, wanted)]
        if not found:
            raise LookupError(f"no record of {wanted}")
        return found

    refcoco = {"benchmark": "refcoco", "split": "val", "protocol": "standard", "metric": "cIoU"}
    narratives = {"benchmark": "png", "protocol": "standard", "metric": "AR"}
    refined, recall = (values(head="unet+sam", **wanted)[0] for wanted in (refcoco, narratives))
    untrained, untrained_recall = (
        max(values(head="untrained", **wanted) + values(head="untrained+sam", **wanted))
        for wanted in (refcoco, narratives)
    )
    questions = {"benchmark": "reasonseg", "metric": "gIoU"}
    asked = values(head="unet+sam", **questions)[0]
    answered = asked - values(head="untrained+sam", **questions)[0]
    seen = {"benchmark": "viscot", "split": "shapes", "protocol": "answer-then-ground"}
    boxes = values(head="unet+sam", **seen, metric="Pr@0.5")[0]
    pope = values(benchmark="pope", protocol="upstream", head="none", metric="accuracy")
    if len(pope) != 3:
        raise LookupError(f"POPE accuracy of {len(pope)} splits, not 3")
    circular = values(benchmark="mmbench", head="none", metric="circular_accuracy")[0]
    return [
        ("POPE accuracy, mean of three splits", mean(pope), POPE),
        ("MMBench circular accuracy", circular, MMBENCH),
        ("RES val cIoU, coarse", values(head="unet", **refcoco)[0], bounds["coarse"]),
        ("RES val cIoU, refined", refined, bounds["refined"]),
        ("PNG average recall, refined", recall, bounds["recall"]),
        ("RES val cIoU, refined above untrained", refined - untrained, CONTROL_GAP),
        ("PNG average recall, refined above untrained", recall - untrained_recall, CONTROL_GAP),
        ("ReasonSeg-style gIoU, refined", asked, REASONSEG),
        ("Visual-CoT-style boxes at IoU 0.5, refined", boxes, BOXES),
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
