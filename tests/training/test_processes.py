"""Real processes: killed with SIGKILL at any moment, and several that train together."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from .synthetic import PROJECT
from .test_train import RESULTS, assert_same_results, curves

pytestmark = pytest.mark.pipeline

SCRIPT = """
import os
import sys
from pathlib import Path
import torch
from flmm.training import train
from tests.training.synthetic import BACKBONE, KEY, make_params
manifest, embeddings, sam, out = map(Path, sys.argv[1:])
threads = int(os.environ.get("TRAIN_THREADS", "1"))
params = make_params(sam, epochs=8, checkpoint_every=3, lr=1.0e-4, threads=threads)
checkpoints = out / "checkpoints"
train(params, BACKBONE, [manifest], [embeddings], out, key=KEY, checkpoints=checkpoints, raw=out)
assert torch.get_num_threads() == threads
"""
STEPS = 24
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
Set = tuple[Path, Path, Path]


def start(training_set: Set, out: Path, *launcher: str, **environment: str) -> subprocess.Popen[bytes]:
    script = out.parent / "training_script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, *launcher, str(script), *map(str, training_set), str(out)]
    return subprocess.Popen(command, env=ENVIRONMENT | environment, cwd=PROJECT, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=3600)
    assert process.returncode == 0, errors.decode()


def logged_steps(out: Path) -> int:
    """A run that ends takes its checkpoints away, also between two looks of ours: it has logged every step then."""
    try:
        return sum(len(path.read_bytes().splitlines()) for path in out.glob("checkpoints/*/curves.jsonl"))
    except FileNotFoundError:
        return STEPS


def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(training_set: Set, tmp_path: Path) -> None:
    finish(start(training_set, tmp_path / "whole"))
    moments = random.Random(os.urandom(8))
    for target in sorted(moments.sample(range(1, STEPS), 3)):
        process = start(training_set, tmp_path / "killed")
        while logged_steps(tmp_path / "killed") < target and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.2)  # anywhere in a step, or while a checkpoint is written
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(training_set, tmp_path / "killed"))
    assert_same_results(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed" / "checkpoints").exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_environments_threads_do_not_matter(training_set: Set, tmp_path: Path, threads: int) -> None:
    """Only ``train.threads`` does: so the same numbers are added in the same order."""
    for said in ("1", "2"):
        finish(start(training_set, tmp_path / said, OMP_NUM_THREADS=said, TRAIN_THREADS=str(threads)))
        timing = json.loads((tmp_path / said / "timing.json").read_text())
        assert timing["threads"] == threads and timing["hardware"]
    assert_same_results(tmp_path / "1", tmp_path / "2")


def test_two_processes_learn_what_one_learns(training_set: Set, tmp_path: Path) -> None:
    finish(start(training_set, tmp_path / "one"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    finish(start(training_set, tmp_path / "two", *launcher))
    for mine, theirs in zip(curves(tmp_path / "one"), curves(tmp_path / "two"), strict=True):
        assert theirs == pytest.approx(mine, abs=1e-4)
    one, two = (load_file(tmp_path / name / "head.safetensors") for name in ("one", "two"))
    # They add in another order. At this rate that stays below 1e-6; at 1.5e-3 Adam makes it 1e-3 in 24 steps.
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted([*RESULTS, "timing.json"])
    assert json.loads((tmp_path / "two" / "timing.json").read_text())["processes"] == 2
