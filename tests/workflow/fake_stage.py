"""``flmm keys``, ``stage`` and ``track`` with steps that do no work (``fake``), but for MLflow, which gets its run."""

import sys
from pathlib import Path

from flmm.files import read_json, write_json, write_text
from flmm.params import load_params
from flmm.pipeline.bookkeeping import write_keys
from flmm.pipeline.experiment import share_cache
from flmm.pipeline.keys import Keys
from flmm.pipeline.step import TRACK
from flmm.pipeline.steps import Graph
from tests.workflow.fake import run

if __name__ == "__main__":
    params = load_params()
    share_cache()
    if sys.argv[1] == "keys":
        write_keys(params)
    else:
        if len(sys.argv) > 3:  # as the real one: a stage without a step has an empty folder as its result
            (Path("results") / params.suite / sys.argv[3] / sys.argv[2]).mkdir(parents=True, exist_ok=True)
        run(params, {}, sys.argv[-1] if sys.argv[1] == "track" else sys.argv[2])
        if "report" in sys.argv:  # what the graph lists none of: the page's tables, and what was before
            write_text(Path("reports/tables/overview.csv"), "a,b\n")
            history = Path("reports/history.json")  # as the real one: it goes on with the one that is there
            write_json(history, [*(read_json(history) if history.exists() else []), params.train.lr])
    if "track" in sys.argv:
        from flmm.tracking.store import Store

        Store.connect().ensure(Keys(Graph(params)).known(TRACK), "fake", {"lr": str(params.train.lr)})
