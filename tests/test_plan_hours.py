"""`flmm plan`: hours by the times that were measured."""

from pathlib import Path

import pytest

from flmm.cli import main
from flmm.files import write_json
from flmm.params import Params
from flmm.pipeline import costs, counts
from flmm.pipeline.cache_plan import phrase_columns
from flmm.pipeline.code import modules
from flmm.pipeline.hashes import Hashes
from flmm.pipeline.steps import Graph
from flmm.pipeline.times import FILE, Times
from tests.test_plan import PROJECT, on_a_bare_machine, planned, row

MEASURED = {
    "device": "A GPU",
    "cores": 16,
    "dtype": "bfloat16",
    "date": "2026-11-30",
    "versions": {"torch": "2.14"},
    "parameters": 7.1e9,
    "steps": {
        "extract": {"seconds": 0.01, "per": "token read"},
        "generate": {"seconds": 0.5, "per": "token generated"},
        "write": {"seconds": 0.03, "per": "phrase"},
        "embed": {"seconds": 0.36, "per": "image"},
        "read": {"seconds": 0.1, "per": "answer"},
        "train": {"seconds": 0.8, "per": "answer"},
        "evaluate": {"seconds": 0.5, "per": "phrase"},
    },
}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Two backbones of one size but for their image tokens, and measured times beside them."""
    params = on_a_bare_machine(tmp_path, monkeypatch)
    write_json(FILE, MEASURED)
    return params.model_copy(update={"backbones": ["llava-1.5-7b", "llava-next-vicuna-7b"]})


def hours(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_hours_are_measured_times_times_counts(measured: Params) -> None:
    text, _ = planned(measured)
    graph = Graph(measured)
    found = [part for name in graph.parts if (part := counts.part_counts(graph, name))]
    prompts = sum(part.prompts for part in found if not counts.is_question(graph, part.name))
    tokens = prompts * (576 + costs.PROMPT_TOKENS) + 980_135 * costs.PHRASE_TOKENS
    assert hours(row(text, "llava-1.5-7b")[4]) == pytest.approx(tokens * 0.01 / 3600, abs=0.06)
    pictures, questions = counts.asked(graph, found)
    tokens = pictures * (576 + costs.PROMPT_TOKENS) + (questions - pictures) * costs.PROMPT_TOKENS
    generated = max(pictures, questions / costs.TOGETHER) * measured.evaluate.max_new_tokens
    assert hours(row(text, "llava-1.5-7b")[5]) == pytest.approx(
        (tokens * 0.01 + generated * 0.5) / 3600, abs=0.06
    )


def test_hours_after_the_lmm_are_told_for_each_backbone(measured: Params) -> None:
    text, _ = planned(measured)
    training, evaluation, epochs = 811_908, 168_227, measured.train.epochs
    one, two = (row(text[text.index("hours of") :], name) for name in measured.backbones)
    expected = (980_135 * 0.03, training / 5 * epochs * (0.1 + 0.8), evaluation * 0.5 * 3)
    assert [hours(cell) for cell in one[1:]] == pytest.approx([each / 3600 for each in expected], abs=0.06)
    # A phrase of two grids has more bytes to write and to read; the head works on 64 x 64 cells in any case.
    sizes = [phrase_columns(costs._SHAPES[name], measured.extract).total for name in measured.backbones]
    assert hours(two[1]) == pytest.approx(980_135 * 0.03 * sizes[1] / sizes[0] / 3600, abs=0.06)
    assert hours(two[2]) - hours(one[2]) == pytest.approx(
        training / 5 * epochs * 0.1 * (sizes[1] / sizes[0] - 1) / 3600, abs=0.11
    )
    assert two[3] == one[3]
    assert row(text, "train2014.zip", "65,785")[3] == f"{65_785 * 0.36 / 3600:.1f}"


def test_a_larger_model_takes_longer_for_a_token() -> None:
    speed = Times.model_validate(MEASURED).speed
    small, large = (costs._SHAPES[name] for name in ("llava-1.5-7b", "mgm-7b"))
    assert small.speaking_seconds(1, 0, speed) == pytest.approx(0.01 * (576 + costs.PROMPT_TOKENS))
    ratio = large.speaking_seconds(9, 9, speed) / small.speaking_seconds(9, 9, speed)
    assert ratio == pytest.approx(7.3 / 7.1)
    assert small.answering_seconds(4, 4, 3, speed) - small.answering_seconds(4, 4, 1, speed) == pytest.approx(
        4.0
    )


def test_further_seeds_train_and_predict_again_and_online_training_is_unknown(measured: Params) -> None:
    def cells(**values: object) -> list[str]:
        train = measured.train.model_copy(update=values)
        text, _ = planned(measured.model_copy(update={"train": train}))
        return row(text[text.index("hours of") :], "llava-1.5-7b")

    once, twice = cells(), cells(seeds=[7, 8])
    assert hours(twice[2]) == pytest.approx(2 * hours(once[2]), abs=0.11)
    assert hours(twice[3]) == pytest.approx(4 / 3 * hours(once[3]), abs=0.11)
    assert cells(online=True)[2] == "unknown (train.online)"


def test_the_estimates_say_what_they_are_made_of(measured: Params) -> None:
    text = " ".join(planned(measured)[0].split())
    assert "measured on A GPU (CPU cores: 16, bfloat16) on 2026-11-30" in text
    assert "A100" not in text and "GPU hours" not in text
    FILE.unlink()
    text = " ".join(planned(measured)[0].split())
    assert "an A100 at 40 %" in text and "extract, GPU hours" in text and "hours of" not in text
    assert "make rehearse" in text and "python -m rehearsal.times" in text


def test_unreadable_times_are_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["flmm", "--params", str(PROJECT / "params.yaml"), "plan"])
    steps = {**MEASURED["steps"], "embed": {"seconds": float("nan"), "per": "image"}}
    write_json(FILE, {**MEASURED, "steps": steps})
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"error: {FILE}: steps.embed.seconds: ")


def test_times_and_hours_are_code_of_no_step(tmp_path: Path) -> None:
    asked = ["flmm.pipeline.times", "flmm.pipeline.hours", "flmm.pipeline.plan"]
    assert not modules(asked, Hashes(tmp_path / "hashes.json"))
