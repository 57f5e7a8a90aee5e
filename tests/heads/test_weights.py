"""Weight files: strict, exact in their reports, and never executed."""

import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from flmm.errors import InputError
from flmm.heads.weights import load_strictly, read_weights


class Malicious:
    """Unpickling it runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.proof}",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    proof, path = tmp_path / "ran", tmp_path / "head.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Malicious(proof)}, path)
    with pytest.raises(InputError, match=r"head\.pth.*could run code"):
        read_weights(path)
    assert not proof.exists()


def history_buffer() -> Any:
    """Mmengine's class of curves, as it is pickled: NumPy arrays, and its methods as a part of its state."""

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history, self._count_history = np.arange(3.0), np.ones(3)

        def mean(self) -> float:
            return float(self._log_history.mean())

        def __getstate__(self) -> dict[str, Any]:
            return {**self.__dict__, "statistics_methods": {"mean": HistoryBuffer.mean}}

    module = types.ModuleType("mmengine.logging.history_buffer")
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = module.__name__, "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    return module


def test_a_checkpoint_of_mmengine_is_read_past_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, module = tmp_path / "iter_95080.pth", history_buffer()
    hub = {"train/loss": module.HistoryBuffer(), "lr": np.float64(1e-4), "steps": np.arange(4)}
    content = {
        "meta": {"iter": 95080},
        "state_dict": {"a": torch.ones(2)},
        "message_hub": {"log_scalars": hub},
    }
    with monkeypatch.context() as context:
        for name in ("mmengine", "mmengine.logging"):
            context.setitem(sys.modules, name, types.ModuleType(name))
        context.setitem(sys.modules, module.__name__, module)
        torch.save(content, path)
    assert torch.equal(read_weights(path)["a"], torch.ones(2))


def test_a_log_cannot_smuggle_a_call(tmp_path: Path) -> None:
    """``getattr`` is one of the log's names: here it is a placeholder, and what it gives cannot be called."""

    class Reached:
        def __reduce__(self) -> tuple[Any, ...]:
            return getattr, ("text", "upper")

        def __call__(self) -> None:
            """Only so that pickle writes it down as something to call."""

    class Called:
        def __reduce__(self) -> tuple[Any, ...]:
            return Reached(), ()

    path = tmp_path / "head.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "message_hub": Reached()}, path)
    assert set(read_weights(path)) == {"a"}
    torch.save({"state_dict": {"a": torch.zeros(1)}, "message_hub": Called()}, path)
    with pytest.raises(InputError, match="refused"):
        read_weights(path)


def test_the_refusal_names_the_class_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Path("x")}, path)
    with pytest.raises(InputError, match=r"it holds pathlib\S*Path .*weights_only=False\)\['state_dict'\]"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"a head", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("name", ["head.pth", "head.safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        read_weights(path)


def test_a_checkpoint_cut_in_half_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "head.pth", tmp_path / "head.safetensors"):
        save = torch.save if path.suffix == ".pth" else save_file
        save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InputError, match=str(path)):
            read_weights(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_weights(tmp_path / "head.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {"state_dict": {}}, {"state_dict": 4}, torch.zeros(2)])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "head.pth")
    with pytest.raises(InputError, match="expected a state dict"):
        read_weights(tmp_path / "head.pth")


@pytest.mark.parametrize("wrap", [False, True])
def test_the_prefix_of_a_data_parallel_wrapper_is_removed(tmp_path: Path, wrap: bool) -> None:
    state = {"module.weight": torch.ones(2, 3), "module.bias": torch.ones(2)}
    torch.save({"state_dict": state, "meta": {"epoch": 8}} if wrap else state, tmp_path / "head.pth")
    assert set(read_weights(tmp_path / "head.pth")) == {"weight", "bias"}


def test_every_mismatch_is_named_and_nothing_is_loaded() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    wrong = {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}
    with pytest.raises(InputError) as caught:
        load_strictly(layer, wrong, Path("somewhere.pth"))
    message = str(caught.value)
    assert message.startswith("somewhere.pth")
    assert "missing: bias" in message
    assert "unexpected: scale" in message
    assert "weight is (2, 4), not (2, 3)" in message
    assert torch.equal(layer.weight, before)
