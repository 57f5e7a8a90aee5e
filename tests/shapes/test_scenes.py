"""Scenes: deterministic, partitioned into segments, varied as the suite promises."""

import numpy as np
import pytest

from flmm.shapes.world.drawing import SHAPES, draw_shape
from flmm.shapes.world.scenes import COLOURS, SIZES, TEXTURES, Scene, make_scene, scene_seed


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(scene_seed("test", 0, i)) for i in range(150)]


def test_same_seed_same_scene() -> None:
    first, second, other = (make_scene(scene_seed("test", 0, i)) for i in (3, 3, 4))
    assert np.array_equal(first.image, second.image)
    assert [t.name for t in first.things] == [t.name for t in second.things]
    assert not np.array_equal(first.image, other.image)


def test_streams_do_not_share_seeds() -> None:
    seeds = {scene_seed(stream, seed, i) for stream in ("a", "b") for seed in (0, 1) for i in range(50)}
    assert len(seeds) == 200


def test_every_pixel_belongs_to_one_segment(scenes: list[Scene]) -> None:
    for scene in scenes:
        masks = [t.mask for t in scene.things] + [r.mask for r in scene.stuff]
        assert all(mask.any() for mask in masks)
        assert np.array_equal(np.sum(masks, axis=0), np.ones((scene.height, scene.width)))


def test_canvases_are_varied_with_a_long_side_of_192(scenes: list[Scene]) -> None:
    found = {(scene.height, scene.width) for scene in scenes}
    assert found == set(SIZES)
    assert all(max(size) == 192 for size in found)


def test_occlusion_leaves_most_of_a_thing_visible(scenes: list[Scene]) -> None:
    occluded = 0
    for scene in scenes:
        for t in scene.things:
            window, alpha = draw_shape(t.shape, t.cx, t.cy, t.radius, t.angle, scene.height, scene.width)
            whole = int((alpha >= 0.5).sum())
            visible = int(t.mask[window].sum())
            assert visible == int(t.mask.sum()) >= 0.54 * whole
            occluded += visible < whole
    assert 20 < occluded < 250


def test_things_and_textures_are_all_drawn(scenes: list[Scene]) -> None:
    things = [t for scene in scenes for t in scene.things]
    assert {t.shape for t in things} == set(SHAPES)
    assert {t.colour for t in things} == set(COLOURS)
    assert {r.name for scene in scenes for r in scene.stuff} == set(TEXTURES)
    assert {len(scene.things) for scene in scenes} == {2, 3, 4, 5}
    twins = sum(len({t.name for t in scene.things}) < len(scene.things) for scene in scenes)
    assert 0.15 < twins / len(scenes) < 0.4


def test_things_have_their_colour(scenes: list[Scene]) -> None:
    for scene in scenes[:40]:
        for thing in scene.things:
            mean = scene.image[thing.mask].mean(0)
            distances = {name: np.abs(mean - np.array(rgb)).sum() for name, rgb in COLOURS.items()}
            assert min(distances, key=lambda name: distances[name]) == thing.colour
