"""`flmm train`: the files that a head is trained from."""

from pathlib import Path
from typing import Any

from flmm.cli.evaluating import attention_maps, embeddings
from flmm.pipeline import paths
from flmm.pipeline.keys import Keys


def train_head(keys: Keys, backbone: str, out: Path, **where: Any) -> None:
    """Train a backbone's head on its caches, or on samples and photographs alone (``train.online``)."""
    graph, params = keys.graph, keys.params
    parts = graph.training_parts
    if params.train.online:
        from flmm.pilot import read_pilot
        from flmm.training.online import train_online

        samples = [paths.samples(params, part) for part in parts]
        chosen = read_pilot(paths.pilot(params, backbone)) if graph.pilot(backbone) else None
        train_online(params, backbone, samples, chosen, out, **where)
        return
    from flmm.training import train

    maps = [attention_maps(keys, backbone, part) for part in parts]
    train(params, backbone, maps, embeddings(keys, parts), out, **where)
