"""Extract: every answer once, under the right protocol; killed runs go on; equal runs give equal bytes."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from flmm.backbones import load
from flmm.cache.reader import head_sizes, read_answers, read_manifest
from flmm.cache.schema import Manifest
from flmm.data.sample import Piece, Sample, Target, encode_rle, write_samples
from flmm.errors import InputError
from flmm.extract import extract, extract_share
from flmm.params import Params, parse_params
from flmm.pilot import pilot, read_pilot
from flmm.protocols import GROUNDING_PROMPT, answers
from tests.tiny_models import save_llava

PARAMS = Path(__file__).parent.parent / "params.yaml"


def target(number: int, *sentences: str) -> Target:
    mask = np.zeros((30, 40), dtype=bool)
    mask[number : number + 5, 3:9] = True
    return Target(f"t{number}", sentences, encode_rle(mask), "dog", True, False)


def sample(number: int, targets: tuple[Target, ...], narrative: tuple[Piece, ...] = ()) -> Sample:
    name = f"{number:012d}.jpg"
    return Sample(f"s{number}", "any", "any", number, "train2014", name, 30, 40, targets, narrative)


REFERRED = [sample(n, (target(0, "the dog", "a brown dog"), target(1, "a star"))) for n in range(5)]
NARRATED = [
    sample(n, (target(0, "a dog"),), (Piece("There is", -1), Piece("a dog", 0), Piece(".", -1)))
    for n in range(3)
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of noise in a folder laid out as the unpacked archive."""
    folder = tmp_path_factory.mktemp("raw") / "train2014"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        picture = Image.fromarray(generator.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        picture.save(folder / f"{number:012d}.jpg")
    return folder.parent


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """The project's params with a tiny random backbone, two samples per shard and two draws."""
    entry = save_llava(tmp_path_factory.mktemp("model"))
    raw_params = yaml.safe_load(PARAMS.read_text())
    raw_params["catalogue"]["shapes-llava"]["model"] = entry.model
    raw_params["extract"] |= {"samples_per_shard": 2, "device": "cpu"}
    raw_params["suites"]["shapes"]["extract"]["train_draws"] = 2
    return parse_params(raw_params)


def run(params: Params, samples: list[Sample], raw: Path, out: Path, part: str = "refcoco-val") -> Manifest:
    path = out.parent / f"{out.name}.parquet"
    write_samples(path, samples)
    return extract(params, "shapes-llava", part, path, raw, out, "0123456789ab")


def test_an_evaluation_part_speaks_both_protocols_and_keeps_what_the_model_saw(
    params: Params, raw: Path, tmp_path: Path
) -> None:
    run(params, REFERRED, raw, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.part, manifest.backbone, manifest.channels) == ("refcoco-val", "shapes-llava", 12)
    found = list(read_answers(manifest))
    assert Counter(answer.protocol for answer in found) == {"paper": 5, "standard": 15}
    assert len(manifest.shards) == 3 and manifest.answers == 20
    first = next(answer for answer in found if answer.protocol == "paper")
    backbone = load(params.catalogue["shapes-llava"], dtype="float32", device="cpu")
    with Image.open(raw / "train2014" / first.image) as image:
        alone = backbone.observe(image, answers(REFERRED[0], "paper"), GROUNDING_PROMPT)[0]
    for phrase, maps, hidden in zip(first.phrases, alone.attention[0], alone.hidden, strict=True):
        assert phrase.grids == alone.grids and phrase.rle == REFERRED[0].targets[phrase.target].rle
        rest = 2**-14 * maps.amax(dim=(1, 2), keepdim=True)  # what the code keeps no finer
        assert ((phrase.attention[0] - maps).abs() <= 0.03 * maps + rest).all()
        rest = 2**-14 * hidden.abs().amax(dim=-1, keepdim=True)
        assert ((phrase.hidden - hidden).abs() <= 0.04 * hidden.abs() + rest).all()


def test_a_pilot_s_selection_is_what_the_shards_hold(params: Params, raw: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "train.parquet", REFERRED)
    some = params.extract.model_copy(update={"heads": 5, "layers": 2})
    params = params.model_copy(update={"extract": some})
    pilot(params, "shapes-llava", [tmp_path / "train.parquet"], raw, tmp_path / "pilot")
    chosen = read_pilot(tmp_path / "pilot" / "heads.json")
    scores = json.loads((tmp_path / "pilot" / "heads.json").read_text())["scores"]
    assert (len(chosen.heads), chosen.layers, chosen.of_heads, chosen.of_layers) == (5, (0, 2), 12, 3)
    assert set(chosen.heads) == set(sorted(range(12), key=lambda head: -scores[head])[:5])

    whole = run(params, REFERRED, raw, tmp_path / "whole")
    part = tmp_path / "part"
    extract(params, "shapes-llava", "refcoco-val", tmp_path / "whole.parquet", raw, part, "1" * 12, chosen)
    manifest = read_manifest(part)
    assert (manifest.selection, manifest.channels, whole.selection) == (chosen, 5, None)
    assert head_sizes(manifest) == head_sizes(whole)
    for small, large in zip(read_answers(manifest), read_answers(whole), strict=True):
        kept, expected = small.head_input(), large.head_input().kept(chosen)
        assert torch.equal(kept.attention[0], expected.attention[0])
        assert all(map(torch.equal, kept.hidden, expected.hidden))
    sizes = [sum(file.stat().st_size for file in folder.glob("*.parquet")) for folder in (part, whole.folder)]
    assert sizes[0] < sizes[1]


def test_a_training_part_is_spoken_once_per_draw(params: Params, raw: Path, tmp_path: Path) -> None:
    run(params, REFERRED, raw, tmp_path / "out", "refcoco-train")
    found = list(read_answers(read_manifest(tmp_path / "out")))
    assert Counter((answer.protocol, answer.draw) for answer in found) == {("train", 0): 5, ("train", 1): 5}


def test_a_narrative_is_spoken_once_for_both_protocols(params: Params, raw: Path, tmp_path: Path) -> None:
    run(params, NARRATED, raw, tmp_path / "val", "png-val")
    run(params, NARRATED, raw, tmp_path / "train", "png-train")
    evaluation = list(read_answers(read_manifest(tmp_path / "val")))
    assert [answer.protocol for answer in evaluation] == ["both"] * 3
    assert [phrase.text for answer in evaluation for phrase in answer.phrases] == ["a dog"] * 3
    assert len(list(read_answers(read_manifest(tmp_path / "train")))) == 3


def test_a_narrative_with_other_words_than_nouns_is_spoken_once_per_protocol(
    params: Params, raw: Path, tmp_path: Path
) -> None:
    """Under ``standard`` its words stay in the narrative, but only the nouns are phrases."""
    words = (Piece("There is", -1), Piece("a dog", 0), Piece("on it", 1), Piece(".", -1))
    other = replace(target(1, "on it"), is_noun=False)
    run(params, [NARRATED[0], sample(1, (target(0, "a dog"), other), words)], raw, tmp_path / "o", "png-val")
    found = list(read_answers(read_manifest(tmp_path / "o")))
    assert [answer.protocol for answer in found] == ["both", "paper", "standard"]
    assert [[phrase.text for phrase in a.phrases] for a in found] == [
        ["a dog"],
        ["a dog", "on it"],
        ["a dog"],
    ]
    both, alone = found[1].phrases[0].attention[0], found[2].phrases[0].attention[0]
    torch.testing.assert_close(both, alone, rtol=0.1, atol=1e-4)  # the same words at the same place


def test_two_runs_write_equal_bytes(params: Params, raw: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(params, REFERRED, raw, tmp_path / name)
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_a_rerun_keeps_whole_shards_and_repairs_the_rest(params: Params, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(params, REFERRED, raw, out)
    expected = {file.name: file.read_bytes() for file in out.iterdir()}
    whole, cut, foreign = (out / f"shard-{number:05d}.parquet" for number in range(3))
    untouched = whole.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:2000])
    shutil.copy(whole, foreign)  # whole, but of other samples
    (out / "manifest.json").unlink()
    (out / ".shard-00001.parquet.abc.tmp.parquet").write_bytes(b"left by a kill")
    run(params, REFERRED, raw, out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == expected
    assert whole.stat().st_mtime_ns == untouched


def test_what_is_whole_under_the_same_key_is_kept_whatever_its_shards_hold(
    params: Params, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many rows a shard has is no part of the key; another key is spoken anew."""
    out = tmp_path / "out"
    first = run(params, REFERRED, raw, out)
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in out.iterdir()}
    larger = params.model_copy(
        update={"extract": params.extract.model_copy(update={"samples_per_shard": 400})}
    )
    with monkeypatch.context() as patched:
        patched.setattr("flmm.extract.backbones.load", lambda *_, **__: pytest.fail("the model was loaded"))
        assert run(larger, REFERRED, raw, out) == first
    assert {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in out.iterdir()} == before
    (out / "manifest.json").write_text((out / "manifest.json").read_text().replace("0123456789ab", "f" * 12))
    assert len(run(larger, REFERRED, raw, out).shards) == 1
    assert sorted(file.name for file in out.iterdir()) == ["manifest.json", "shard-00000.parquet"]


def test_a_failure_leaves_no_half_shard_and_no_manifest(params: Params, raw: Path, tmp_path: Path) -> None:
    missing = sample(9, (target(0, "a dog"),))
    with pytest.raises(InputError, match=r"000000000009\.jpg"):
        run(params, [*REFERRED[:3], missing], raw, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["shard-00000.parquet"]


def test_a_photograph_of_another_size_than_its_annotation_is_refused(
    params: Params, raw: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "raw"
    shutil.copytree(raw, changed)
    Image.new("RGB", (41, 30)).save(changed / "train2014" / f"{0:012d}.jpg")
    with pytest.raises(InputError, match="41 x 30 pixels, but its annotation says 40 x 30"):
        run(params, REFERRED, changed, tmp_path / "out")


def test_a_part_without_samples_is_refused(params: Params, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out\.parquet: holds no sample"):
        run(params, [], raw, tmp_path / "out")


def test_the_manifest_holds_no_time_and_no_place(params: Params, raw: Path, tmp_path: Path) -> None:
    run(params, REFERRED[:1], raw, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["key"] == "0123456789ab" and manifest["params"]["prompt"] == GROUNDING_PROMPT
    assert str(tmp_path) not in json.dumps(manifest) and "device" not in manifest["params"]


def test_shares_of_several_jobs_make_what_one_job_makes(
    params: Params, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(params, REFERRED, raw, tmp_path / "alone")  # three shards of two samples each, the last of one
    expected = {file.name: file.read_bytes() for file in (tmp_path / "alone").iterdir()}
    several = params.model_copy(update={"extract": params.extract.model_copy(update={"jobs": 2})})
    out, path = tmp_path / "shared", tmp_path / "shared.parquet"
    write_samples(path, REFERRED)
    out.mkdir()
    others = out / ".shard-00000.parquet.abc.tmp.parquet"
    others.write_bytes(b"the other job is at work")
    (out / ".shard-00001.parquet.abc.tmp.parquet").write_bytes(b"left by a kill")
    extract_share(several, "shapes-llava", "refcoco-val", path, raw, out, "0123456789ab", share=1)
    assert {file.name for file in out.iterdir()} == {others.name, "shard-00001.parquet"}
    extract_share(several, "shapes-llava", "refcoco-val", path, raw, out, "0123456789ab", share=0)
    with monkeypatch.context() as patched:  # nothing is left to say
        patched.setattr("flmm.extract.write_shard", lambda *_: pytest.fail("a shard was written"))
        run(several, REFERRED, raw, out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == expected
    with pytest.raises(InputError, match="the last share is 1"):
        extract_share(several, "shapes-llava", "refcoco-val", path, raw, out, "k", share=2)
