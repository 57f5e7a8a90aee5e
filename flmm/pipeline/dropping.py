"""Training shards that nobody needs any more, where params.yaml does not keep them (``extract.keep_training_maps``).

So that several backbones need the disk of the largest: Snakemake extracts a backbone's training parts when the heads
of the one before are trained and its shards are gone (``flmm.pipeline.state``).
"""

from pathlib import Path

from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.cached import delete
from flmm.pipeline.outputs import record
from flmm.pipeline.state import State
from flmm.pipeline.step import Step


def drop_training_maps(params: Params, backbone: str) -> list[Path]:
    """Delete a backbone's training shards if params say so and each step that reads them is done; tells which.

    Results have keys, so that nothing runs again for it; a step that has to run later has them extracted again.
    """
    if params.extract.keep_training_maps or params.train.online:
        return []
    state = State(params)
    graph, keys = state.graph, state.keys
    folders = [
        paths.extract_shards(backbone, str(keys.key(Step("extract", backbone, part))), part)
        for part in graph.training_parts
    ]
    there = [folder for folder in folders if (folder / "manifest.json").is_file()]
    readers = graph.readers_of_training_maps(backbone)
    if not there or any(state.is_stale(step) for step in readers):
        return []
    # A result that is older than the shards: they were made for a step that is forced to run once more.
    shards = max((folder / "manifest.json").stat().st_mtime for folder in there)
    if any(record(graph, step).stat().st_mtime < shards for step in readers):
        return []
    delete(there)
    return there
