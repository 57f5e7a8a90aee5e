"""params.yaml: complete, typed, and every mistake named."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flmm.errors import InputError
from flmm.params import load_params, parse_params

PATH = Path(__file__).resolve().parents[1] / "params.yaml"
RAW: dict[str, Any] = yaml.safe_load(PATH.read_text())


def changed(path: str, value: object) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    section = raw
    *keys, last = path.split(".")
    for key in keys:
        section = section[key]
    section[last] = value
    return raw


def test_the_shipped_file_is_valid_for_both_suites() -> None:
    assert load_params(PATH).suite == "shapes"
    paper = changed("suite", "paper")
    paper["backbones"] = [name for name, entry in RAW["catalogue"].items() if entry["suite"] == "paper"]
    assert parse_params(paper).active.generate is None


def test_several_seeds_need_the_cache() -> None:
    several = changed("train.seeds", [7, 8])
    several["train"]["online"] = True
    with pytest.raises(InputError, match="from the cache"):
        parse_params(several)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("suites.shapes.train.lr", 0.0),
        ("suites.shapes.train.lr", "1e-4"),
        ("suites.shapes.train.batch_size", 1.5),
        ("suites.shapes.train.head.base_channels", -2),
        ("train.warmup", 1.0),
        ("train.seeds", []),
        ("train.seeds", [7, 7]),
        ("train.betas", [0.9]),
        ("extract.attention", "int4"),
        ("evaluate.benchmarks", ["res", "vqa"]),
        ("prepare.exclude_evaluation_images", "yes"),
        ("suites.shapes.generate.train_images", 0),
        ("train.momentum", 0.9),
        ("extra", {}),
    ],
)
def test_a_wrong_value_or_key_is_named_on_one_line(path: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        parse_params(changed(path, value))
    assert path.removeprefix("suites.shapes.") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"), [("no", "float32"), (False, "float32"), ("bf16", "bfloat16"), ("fp16", "float16")]
)
def test_a_precision_of_an_older_release_is_refused_with_its_new_name(old: object, new: str) -> None:
    with pytest.raises(InputError, match=f"train.precision: .* is now called {new}$"):
        parse_params(changed("suites.shapes.train.precision", old))


def test_a_missing_key_is_named() -> None:
    raw = copy.deepcopy(RAW)
    del raw["suites"]["shapes"]["train"]["lr"]
    with pytest.raises(InputError, match=r"train\.lr"):
        parse_params(raw)


def test_a_backbone_of_another_suite_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"llava-1\.5-7b.*known: shapes-deepseek-vl, shapes-llava"):
        parse_params(changed("backbones", ["llava-1.5-7b"]))


def test_a_section_and_the_active_suite_together_hold_every_value() -> None:
    paper = changed("suite", "paper")
    paper["backbones"] = ["llava-1.5-7b"]
    found = parse_params(paper)
    assert found.train.epochs == RAW["suites"]["paper"]["train"]["epochs"]
    assert found.train.weight_decay == RAW["train"]["weight_decay"]


@pytest.mark.parametrize("section", ["train", "extract"])
def test_an_unknown_value_of_a_suite_is_named(section: str) -> None:
    with pytest.raises(InputError, match=rf"{section}\.epoch_count"):
        parse_params(changed(f"suites.shapes.{section}.epoch_count", 2))


@pytest.mark.parametrize("suite", ["shapes", "paper"])  # also of the suite that does not run
@pytest.mark.parametrize(
    ("section", "name"), [("train", "weight_decay"), ("train", "warmup"), ("extract", "samples_per_shard")]
)
def test_a_value_in_a_section_and_in_a_suite_is_refused_with_both_places(
    suite: str, section: str, name: str
) -> None:
    raw = changed(f"suites.{suite}.{section}.{name}", RAW[section][name])  # even where the two agree
    places = rf"{section}\.{name} is also in suites\.{suite}\.{section}; .*delete one of the two"
    with pytest.raises(InputError, match=places) as caught:
        parse_params(raw)
    assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_section_holds_the_answer_is_an_input_error(value: object) -> None:
    with pytest.raises(InputError):
        parse_params(changed("train", value))


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("- a\n- b\n")
    with pytest.raises(InputError, match="mapping"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("value", [0, -1, "some", True, 1.5, None])
@pytest.mark.parametrize("name", ["heads", "layers"])
def test_how_many_heads_or_layers_is_all_or_a_number(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"extract.{name}: expected all, or how many"):
        parse_params({**RAW, "extract": {**RAW["extract"], name: value}})
