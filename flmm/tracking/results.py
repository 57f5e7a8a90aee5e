"""The results of one backbone: which run shows which steps, by which values, and what tells its runs from others."""

from functools import cached_property

from flmm.files import sha256_of
from flmm.params import Params
from flmm.pipeline import content
from flmm.pipeline.keys import Keys
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.tracking.names import flat, safe

# The runs, and the steps whose results each shows.
RUNS = {
    "prepare": ("prepare",),
    "extract": ("pilot", "extract"),
    "embed": ("embed",),
    "train": ("train", "import"),
    "repeat": ("repeat",),
    "keywords": ("keywords",),
    "evaluate": ("select", "evaluate", "count", "overlays"),
}
# Those that are the same for all backbones.
SHARED = ("prepare", "embed")
# Values of one part or one benchmark, of which a run shows many.
OF_ONE_ITEM = {"dataset", "split", "refs", "first", "benchmark", "prompt", "ways", "train.seed"}


class Results:
    """The results of one backbone, and the keys and values that they are of."""

    def __init__(self, params: Params, backbone: str) -> None:
        self.params, self.backbone = params, backbone
        self.keys = Keys(Graph(params))
        self.graph = self.keys.graph

    def steps(self, run: str) -> list[Step]:
        """The steps whose results a run shows."""
        return [
            step
            for step in self.graph.results
            if step.name in RUNS[run] and step.backbone in ("", self.backbone)
        ]

    def values(self, run: str) -> dict[str, str]:
        """The values that decide these results, by their paths in params.yaml, and not what is one item's own."""
        return {
            safe(name): str(value)
            for step in self.steps(run)
            for name, value in flat(content.values(self.graph, step, self.keys.hashes))
            if name not in OF_ONE_ITEM
        }

    @cached_property
    def head(self) -> str:
        """The key of the step that made the head.

        Raises:
            InputError: an upstream file is not here yet.
        """
        return self.keys.known(self.graph.head(self.backbone))

    def name(self, run: str) -> str:
        """What a run is called: a backbone and its head, in its child runs the step, else the suite and the step."""
        if run in SHARED:
            return f"{self.params.suite} {run}"
        if run != "pipeline":
            return f"{self.backbone} {run}"
        origin = "trained" if self.backbone in self.graph.trained else "published"
        return f"{self.backbone}, {origin} head {self.head[:6]}"

    def shared_identity(self, run: str) -> str:
        """What tells a run that all backbones share from others.

        Raises:
            InputError: an upstream file is not here yet.
        """
        return sha256_of({str(step): self.keys.known(step) for step in self.steps(run)})[:16]

    @cached_property
    def identity(self) -> str:
        """What tells a backbone's parent run from others: its head, and how it is evaluated, on whatever benchmarks.

        Raises:
            InputError: an upstream file is not here yet.
        """
        params = self.params
        made_of = {
            "suite": params.suite,
            "backbone": self.backbone,
            "head": self.head,
            "evaluate": params.evaluate.model_dump(
                include={"protocols", "max_new_tokens", "description_tokens", "thoughts"}
            ),
            "select": params.select.model_dump(),
            "keywords": params.keywords.model_dump(),
        }
        return sha256_of(made_of)[:16]
