"""Devices: with several GPUs each process gets its own; with none, whoever asked for one is told which key."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flmm import device
from flmm.device import claim_gpu, gpus, has_gpu, resolve_device
from flmm.errors import InputError

PROJECT = Path(__file__).parents[1]
# Takes a GPU, says which, and keeps it until its standard input is closed.
CLAIM = """
import os, sys
from flmm.device import claim_gpu
claim_gpu("auto")
print(os.environ.get("CUDA_VISIBLE_DEVICES", "all"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose `nvidia-smi` lists two GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    list_gpus(folder, 2)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "DRIVERS", ())
    return folder


def list_gpus(folder: Path, count: int) -> None:
    lines = "\n".join(f"echo 'GPU {number}: NVIDIA Stub (UUID: GPU-{number})'" for number in range(count))
    script = folder / "nvidia-smi"
    script.write_text(f'#!/bin/sh\n[ "$1" = -L ] || exit 9\n{lines}\n')
    script.chmod(0o755)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(processes: list[subprocess.Popen[str]], **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_process_gets_its_own_and_a_third_waits(
    machine: Path, processes: list[subprocess.Popen[str]]
) -> None:
    first, second = start(processes), start(processes)
    assert sorted((said(first), said(second))) == ["0", "1"]
    third = start(processes)
    assert third.stderr is not None
    assert third.stderr.readline() == "all 2 GPUs are taken by other steps; waiting for one\n"
    time.sleep(0.7)
    assert third.poll() is None
    first.kill()  # a lock ends with its process, however that ends
    assert said(third) in ("0", "1")


def test_only_visible_gpus_are_given(machine: Path, processes: list[subprocess.Popen[str]]) -> None:
    found = [said(start(processes, CUDA_VISIBLE_DEVICES="5,GPU-7/x")) for _ in range(2)]
    assert sorted(found) == ["5", "GPU-7/x"]


def test_one_gpu_is_not_locked(machine: Path, processes: list[subprocess.Popen[str]]) -> None:
    list_gpus(machine, 1)
    assert [said(start(processes)) for _ in range(2)] == ["all", "all"]
    assert not device.LOCKS.exists()


def test_a_launcher_places_its_processes_itself(
    machine: Path, processes: list[subprocess.Popen[str]]
) -> None:
    assert said(start(processes, LOCAL_RANK="0")) == "all"


def test_the_cpu_needs_none(machine: Path) -> None:
    assert claim_gpu("cpu") is None
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_without_a_gpu_nothing_happens(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_gpu()
    (machine / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: of a driver that failed'\nexit 9\n")
    assert gpus() == [] and claim_gpu("auto") is None
    (machine / "nvidia-smi").unlink()
    monkeypatch.setenv("PATH", str(machine))
    assert not has_gpu() and gpus() == [] and claim_gpu("cuda") is None


@pytest.mark.parametrize(
    ("visible", "names"),
    [("0,1", ["0", "1"]), ("", []), ("-1", []), ("2,-1,3", ["2"]), (" 1 , 0", ["1", "0"])],
)
def test_the_entries_of_cuda_visible_devices(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == names


def test_no_gpu_names_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        InputError, match=r"^embed\.device: cuda, but no GPU is available; set it to auto or cpu$"
    ):
        resolve_device("cuda", "embed.device")
    assert resolve_device("auto").type == "cpu"
