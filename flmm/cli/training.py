"""`flmm train`: the files that a head is trained from, and what is said where a reader of them is killed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flmm.cli.evaluating import attention_maps, embeddings
from flmm.errors import StepError
from flmm.pipeline import paths
from flmm.pipeline.keys import Keys


@contextlib.contextmanager
def readers_are_named(step: str) -> Iterator[None]:
    """Say in a sentence that a process which reads shards ahead (``train.workers``) was killed.

    Raises:
        StepError: in place of torch's own error, which it raises wherever the trainer happens to be, or of that of the
            connection over which tensors come: a training has no other one.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise StepError(
            f"{step}: a process that reads shards was killed, as systems do when memory runs out; run it again: it "
            "goes on from its last checkpoint. Fewer of them (train.workers; 0: none) take less memory"
        ) from error


def train_head(keys: Keys, backbone: str, out: Path, **where: Any) -> None:
    """Train a backbone's head on its caches, or on samples and photographs alone (``train.online``)."""
    graph, params = keys.graph, keys.params
    parts = graph.training_parts
    if params.train.online:
        from flmm.pilot import read_pilot
        from flmm.training.online import train_online

        samples = [paths.samples(params, part) for part in parts]
        chosen = read_pilot(paths.pilot(params, backbone)) if graph.pilot(backbone) else None
        with readers_are_named("train"):
            train_online(params, backbone, samples, chosen, out, **where)
        return
    from flmm.training import train

    maps = [attention_maps(keys, backbone, part) for part in parts]
    with readers_are_named("train"):
        train(params, backbone, maps, embeddings(keys, parts), out, **where)
