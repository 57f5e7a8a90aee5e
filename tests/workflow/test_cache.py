"""`flmm cache`: what lies there, whether it is whole, and what may go."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from typer.testing import CliRunner

from flmm.cache.embeddings import EmbedManifest, ShardFolder
from flmm.cli import app
from flmm.errors import StepError
from flmm.files import sha256_file, write_json
from flmm.params import parse_params
from flmm.pipeline import hashes, paths
from flmm.pipeline.cached import cached, damage, delete
from flmm.pipeline.outputs import outputs
from flmm.pipeline.running import step_runs
from flmm.pipeline.state import State
from flmm.pipeline.step import Step
from tests.workflow.conftest import REPOSITORY
from tests.workflow.fake import run

BACKBONE, PART = "shapes-llava", "refcoco-val"


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Params of one backbone in an empty folder, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashes, "MEMORY", tmp_path / "hashes.json")
    (tmp_path / "flmm").symlink_to(REPOSITORY / "flmm")
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    found["backbones"] = [BACKBONE]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(found))
    return found


def shards(folder: Path) -> None:
    """A folder of two shards, as extract and embed leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        table = pa.table({"values": list(range(1000))})
        pq.write_table(table, folder / f"{number}.parquet", write_page_checksum=True, use_dictionary=False)
    write_json(folder / "manifest.json", {"shards": [{"file": f"{number}.parquet"} for number in range(2)]})


def extracted(state: State) -> Path:
    return paths.extract_shards(BACKBONE, state.keys.known(Step("extract", BACKBONE, PART)), PART)


def use_of(state: State, folder: Path) -> str:
    return next(each.use for each in cached(state) if each.folder == folder)


def test_a_folder_is_needed_then_current_and_unused_with_other_params(content: dict[str, Any]) -> None:
    params = parse_params(content)
    run(params, {})
    folder = extracted(State(params))
    shards(folder)
    assert use_of(State(params), folder) == "current"
    outputs(State(params).graph, Step("evaluate", BACKBONE, "res"))[0].unlink()
    assert use_of(State(params), folder) == "needed"
    content["extract"]["attention"] = "float16"
    assert use_of(State(parse_params(content)), folder) == "unused"


def test_clean_deletes_what_nobody_needs_and_results_stay_current(content: dict[str, Any]) -> None:
    run(parse_params(content), {})
    folder, other = extracted(State(parse_params(content))), Path("cache/extract/gone/0123456789ab/png-val")
    shards(folder)
    shards(other)

    def flmm(*words: str) -> str:
        result = CliRunner().invoke(app, ["cache", *words])
        assert result.exit_code == 0, result.output
        return result.output

    assert f"{other}  " in flmm("clean") and other.is_dir()
    flmm("clean", "--yes")
    assert folder.is_dir() and not other.parent.parent.exists()
    flmm("clean", "--current", "--yes")
    assert not folder.exists() and not State(parse_params(content)).running
    assert "0 bytes" in flmm()


def test_verify_names_what_is_damaged(content: dict[str, Any]) -> None:
    folder = Path("cache/extract/a/0123456789ab/png-val")
    shards(folder)
    assert CliRunner().invoke(app, ["cache", "verify"]).output.strip().endswith("1 folders are whole")
    data = bytearray((folder / "0.parquet").read_bytes())
    data[len(data) // 3] ^= 4
    (folder / "0.parquet").write_bytes(data)
    (folder / "1.parquet").unlink()
    found = list(damage(cached(State(parse_params(content)))[0]))
    assert len(found) == 2 and "0.parquet" in found[0] and "1.parquet" in found[1]
    result = CliRunner().invoke(app, ["cache", "verify"])
    assert isinstance(result.exception, StepError) and "2 problems" in str(result.exception)
    (folder / "manifest.json").unlink()
    assert "without a manifest" in next(damage(cached(State(parse_params(content)))[0]))


def test_verify_names_a_shard_whose_columns_are_others(content: dict[str, Any]) -> None:
    """A bit in Parquet's footer, which has no checksum: it renames a column."""
    folder = Path("cache/extract/a/0123456789ab/png-val")
    shards(folder)
    files = sorted(folder.glob("*.parquet"))
    sums = [{"file": file.name, "sha256": sha256_file(file)} for file in files]
    write_json(folder / "manifest.json", {"shards": sums})
    assert not list(damage(cached(State(parse_params(content)))[0]))
    for old, new in ((b"values", b"valuer"), (b"values", b"value\xf3")):
        whole = files[0].read_bytes()
        files[0].write_bytes(whole.replace(old, new))
        (found,) = damage(cached(State(parse_params(content)))[0])
        assert str(files[0]) in found and "not a whole shard" in found
        files[0].write_bytes(whole)


def test_verify_opens_embeddings_as_their_readers_do(content: dict[str, Any]) -> None:
    folder = Path("cache/embed/sam/0123456789ab/train2014.zip")
    folder.mkdir(parents=True)
    writer = ShardFolder(folder, channels=2, side=2)
    writer.write(folder / "shard-00000.parquet", [(("train2014", "a.jpg"), torch.zeros(2, 2, 2).half())])
    EmbedManifest("key", "sam", 2, 2, 1, "0", writer.files()).write(folder)
    assert not list(damage(cached(State(parse_params(content)))[0]))
    shard = folder / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes().replace(b"embedding", b"embeddinf"))
    assert str(shard) in next(damage(cached(State(parse_params(content)))[0]))


def test_a_step_removes_what_a_kill_left_of_its_files(content: dict[str, Any]) -> None:
    params = parse_params(content)
    run(params, {})
    step = Step("select", BACKBONE)
    heads = outputs(State(params).graph, step)[1]
    left, other = (
        heads.with_name(f".{heads.name}.abcd.tmp.json"),
        heads.with_name(".other.json.abcd.tmp.json"),
    )
    left.touch(), other.touch()
    with step_runs(params, step):
        assert not left.exists() and other.exists()


def test_a_removal_takes_the_manifest_first(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("cache/extract/a/0123456789ab/png-val")
    shards(folder)

    def cut_off(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        delete([folder])
    assert not (folder / "manifest.json").exists() and (folder / "0.parquet").exists()
