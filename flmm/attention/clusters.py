"""Kinds of maps: k-means over the maps of all heads."""

from dataclasses import dataclass

import numpy as np

from flmm.attention.heads import unit_sum
from flmm.errors import InputError


@dataclass(frozen=True)
class Cluster:
    """``heads``: (layer, head) of its maps; ``mean``: their mean map (h, w), of unit sum; ``iou``: their mean, 0-1."""

    heads: tuple[tuple[int, int], ...]
    mean: np.ndarray
    iou: float


def clusters(maps: np.ndarray, ious: np.ndarray, *, count: int = 4, seed: int = 0) -> list[Cluster]:
    """``count`` kinds among maps (L, H, h, w), best first by the mean of their heads' ``ious`` (L, H).

    Compared are the square roots of maps of unit sum (Hellinger distance), so that one bright cell does not decide.

    Raises:
        InputError: there are fewer heads than ``count``, or ``count`` is not positive.
    """
    from sklearn.cluster import KMeans

    layers, heads = maps.shape[:2]
    if not 1 <= count <= layers * heads:
        raise InputError(f"clusters: {count} asked of {layers * heads} maps")
    shares = unit_sum(maps).reshape(layers * heads, *maps.shape[2:])
    points = np.sqrt(shares.reshape(len(shares), -1))
    kinds = KMeans(count, n_init=10, random_state=seed).fit_predict(points)
    found = []
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        names = tuple((int(each) // heads, int(each) % heads) for each in members)
        found.append(Cluster(names, shares[members].mean(axis=0), float(ious.reshape(-1)[members].mean())))
    return sorted(found, key=lambda cluster: -cluster.iou)
