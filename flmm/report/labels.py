"""Words for people: how heads, benchmarks and metrics are called and in what order they stand."""

from flmm.heads import names

# For rows of POPE and MMBench: a head makes no mask there, it is only attached while the LMM speaks.
ANSWERING_HEADS = {names.PLAIN: "plain LMM", names.ATTACHED: "with the head attached"}
BENCHMARKS = {
    "refcoco": "RefCOCO",
    "refcoco+": "RefCOCO+",
    "refcocog": "RefCOCOg",
    "png": "PNG",
    "reasonseg": "ReasonSeg",
    "viscot": "Visual-CoT",
    "pope": "POPE",
    "mmbench": "MMBench",
}
ANSWER_BENCHMARKS = ("pope", "mmbench")
# The one number that stands for a benchmark in a comparison.
MAIN_METRIC = {
    "png": "AR",
    "reasonseg": "gIoU",
    "viscot": "Pr@0.5",
    "pope": "accuracy",
    "mmbench": "circular_accuracy",
}
METRIC_ORDER = (
    "cIoU", "gIoU", "Pr@0.5", "Pr@0.6", "Pr@0.7", "Pr@0.8", "Pr@0.9",
    "gIoU_long", "cIoU_long", "gIoU_short", "cIoU_short",
    "AR", "AR_things", "AR_stuff", "AR_singulars", "AR_plurals",
    "accuracy", "precision", "recall", "F1", "yes_ratio", "circular_accuracy", "plain_accuracy",
    "answers_equal",
)  # fmt: skip
SPLIT_ORDER = ("val", "testA", "testB", "test", "random", "popular", "adversarial", "dev")
PROTOCOL_ORDER = ("standard", "paper", "answer-then-ground", "upstream")
METRICS = {
    "gIoU_long": "gIoU, long queries",
    "cIoU_long": "cIoU, long queries",
    "gIoU_short": "gIoU, short queries",
    "cIoU_short": "cIoU, short queries",
    "AR": "AR, all",
    "AR_things": "AR, things",
    "AR_stuff": "AR, stuff",
    "AR_singulars": "AR, singulars",
    "AR_plurals": "AR, plurals",
    "yes_ratio": "yes ratio",
    "circular_accuracy": "circular accuracy",
    "plain_accuracy": "plain accuracy",
    "answers_equal": "answers equal",
}


def main_metric(benchmark: str) -> str:
    """The metric that stands for ``benchmark`` in comparisons: cIoU for every RES dataset."""
    return MAIN_METRIC.get(benchmark, "cIoU")


def benchmark_label(benchmark: str) -> str:
    """``refcoco+`` as RefCOCO+; an unknown name as it is."""
    return BENCHMARKS.get(benchmark, benchmark)


def head_label(head: str, benchmark: str = "") -> str:
    """A head in words; what it is called depends on whether the benchmark is about masks or answers."""
    known = ANSWERING_HEADS if benchmark in ANSWER_BENCHMARKS else names.labels()
    return known.get(head, head)


def short_head_label(head: str, is_answers: bool) -> str:
    """A head in few letters, for a terminal; with answers a head is only attached."""
    return "head attached" if is_answers and head != names.PLAIN else names.short_labels().get(head, head)


def head_rank(head: str) -> tuple[int, str]:
    """A sort key: known heads in their order, others after them by name."""
    return rank(tuple(names.labels()), head)


def metric_label(metric: str) -> str:
    """A metric's column heading."""
    return METRICS.get(metric, metric)


def rank(order: tuple[str, ...], name: str) -> tuple[int, str]:
    """A sort key: known names in their order, unknown ones after them by name."""
    return (order.index(name) if name in order else len(order), name)


def format_value(value: float, metric: str) -> str:
    """Percent metrics with one decimal, fractions (answers) with three, as recorded: no unit is changed."""
    is_percent = metric.startswith(("cIoU", "gIoU", "Pr@", "AR"))
    return f"{value:.1f}" if is_percent else f"{value:.3f}"
