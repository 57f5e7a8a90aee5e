"""What each step takes per item: measured at real sizes by `python -m rehearsal.times`, here at tiny ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention

from benchmarks.loader import Sizes
from benchmarks.real_sizes import SIZES
from flmm.backbones.tap import Recording
from flmm.errors import InputError
from flmm.heads.sam import VIT_L
from flmm.params import Params, load_params
from flmm.pipeline import costs
from flmm.pipeline.times import PHRASES, StepTimes, read_times
from rehearsal import clock as clocks
from rehearsal import times
from rehearsal.clock import Clock
from rehearsal.head_times import ANSWERS, head_times
from rehearsal.model_times import HEADS_AT_ONCE, by_heads, decoder, embedding

PROJECT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TEXT, SAM = SIZES["tiny"][5], SIZES["tiny"][6]
TINY = times.Model(
    text=TEXT,
    cache=Sizes(channels=4, cells=4, layers=2, tokens=3, width=32, embedding=16, side=4),
    sam={**SAM, "encoder": {**SAM["encoder"], "depth": 3, "global_attn_indexes": [1]}},
    base_channels=2,
)


class Second(Clock):
    """Runs what it is given once, and says that it took a second."""

    def seconds(self, run: Callable[[], Any]) -> float:
        run()
        return 1.0


@pytest.fixture
def params() -> Params:
    return load_params(PROJECT / "params.yaml", suite="paper", backbones=["llava-1.5-7b"])


def test_the_median_of_the_repeats_that_fit_into_the_budget_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*taken: float, **limits: float) -> tuple[float, int]:
        left = list(taken)
        monkeypatch.setattr(clocks, "timed", lambda run, device: left.pop(0))
        found = replace(Clock(CPU), **limits).seconds(lambda: None)
        return found, len(taken) - len(left)

    assert measured(9, 1, 3, 2, 5, 4, 7, budget=100) == (3, 6)  # the first one warms up
    assert measured(2, 1, 3, 1, 1, budget=5) == (2, 3)
    assert measured(8, 6, 1, budget=5) == (6, 2)  # one counts in any case


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_decoder_s_layer_counts_as_often_as_the_model_has_it(dtype: torch.dtype) -> None:
    text = {**TEXT, "num_hidden_layers": 7}
    found = decoder(text, 16, PHRASES, Second(CPU), dtype)
    assert found.token == pytest.approx(7 / (costs.PROMPT_TOKENS + 16 + PHRASES * costs.PHRASE_TOKENS))
    assert found.generated == 7
    width, inner = text["hidden_size"], text["intermediate_size"]
    assert found.parameters == 7 * (4 * width**2 + 3 * width * inner + 2 * width)


def test_the_tap_reads_the_phrases_in_the_measured_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Looking(Second):
        def seconds(self, run: Callable[[], Any]) -> float:
            attention = Recording.attention
            with monkeypatch.context() as patched:
                patched.setattr(Recording, "attention", lambda self: seen.append(attention(self)))
                return super().seconds(run)

    decoder(TEXT, 16, PHRASES, Looking(CPU), torch.float32)
    (maps,) = seen
    assert maps.shape == (PHRASES, TEXT["num_attention_heads"], 16)
    assert (maps > 0).all() and (maps.sum(-1) < 1).all()  # a share of the attention on all tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sam_s_blocks_count_by_kind(dtype: torch.dtype) -> None:
    taken = iter((100.0, 10.0, 1.0))  # windowed, global, around

    class Told(Second):
        def seconds(self, run: Callable[[], Any]) -> float:
            return super().seconds(run) * next(taken)

    assert embedding(TINY.sam, Told(CPU), dtype) == 2 * 100 + 10 + 1
    kinds = VIT_L["encoder"]
    assert (kinds["depth"] - len(kinds["global_attn_indexes"]), len(kinds["global_attn_indexes"])) == (20, 4)


def test_attention_a_few_heads_at_a_time_is_sam_s() -> None:
    torch.manual_seed(0)
    attention = Attention(24, num_heads=2 * HEADS_AT_ONCE - 2, use_rel_pos=True, input_size=(5, 5))
    for name in ("rel_pos_h", "rel_pos_w"):
        torch.nn.init.normal_(getattr(attention, name))
    cells = torch.randn(1, 5, 5, 24)
    torch.testing.assert_close(by_heads(attention, cells), attention(cells))


def test_what_follows_the_lmm_is_told_per_phrase_and_answer(params: Params, tmp_path: Path) -> None:
    head = params.train.head.model_copy(update={"base_channels": 2})
    settings = params.train.model_copy(update={"precision": "float32", "head": head})
    found = head_times(TINY.cache, TINY.sam, settings, PHRASES, tmp_path, Second(CPU))
    assert found.write == found.evaluate == 1 / (ANSWERS * PHRASES)
    assert (found.read, found.train) == (1 / ANSWERS, 1)


def test_the_file_is_what_plan_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "LLAVA", TINY)
    monkeypatch.setattr(times, "resolve_device", lambda name: CPU)
    out = tmp_path / "below" / "times.json"
    times.write_times(out)
    found = read_times(out)
    assert found is not None and found.dtype == "float32" and found.cores == torch.get_num_threads()
    assert found.versions["torch"] == torch.__version__
    assert all(item.seconds < 60 for _, item in found.steps)
    assert dict(found.steps).keys() == StepTimes.model_fields.keys()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "not valid JSON"),
        ("[]", "valid dictionary"),
        ('{"device": "GPU", "cores": 0}', "cores: "),
    ],
)
def test_a_file_that_is_none_of_ours_is_one_sentence(tmp_path: Path, text: str, names: str) -> None:
    file = tmp_path / "times.json"
    file.write_text(text)
    with pytest.raises(InputError, match=names) as told:
        read_times(file)
    assert str(told.value).startswith(f"{file}: ") and "\n" not in str(told.value)
    assert "python -m rehearsal.times" in str(told.value)


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(times, "LLAVA", TINY)
    monkeypatch.setattr(times, "resolve_device", lambda name: CPU)
    monkeypatch.setattr("sys.argv", ["times", "--out", str(tmp_path / "file" / "times.json")])
    with pytest.raises(SystemExit) as ended:
        times.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: cannot write") and said.count("\n") == 1
