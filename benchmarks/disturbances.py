"""What is done to a running pipeline or to its files, one function for each fault of ``pipeline_faults.py``.

A disturbance gets the project, the number of the try and a seeded source of chance; it does the fault at a random
moment, runs the same command again as a user does, and says how that ended.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil

from benchmarks.disturbed import BACKBONE, FROM_ATTENTION_ON, MADE, RESULTS, Command, Disturbed, kill_all

EQUAL, TOLD, LOST = "equal after a plain rerun", "told what to do, equal after it", "lost"
PIPELINE = "snakemake --cores 2"
STEPS = {
    "extract": (
        f"flmm extract --backbone {BACKBONE} --part refcoco-train",
        (f"cache/extract/{BACKBONE}/*/refcoco-train", f"{RESULTS}/extract/refcoco-train.json"),
    ),
    "train": (f"flmm train --backbone {BACKBONE}", (f"{RESULTS}/train",)),
    "evaluate": (f"flmm evaluate --backbone {BACKBONE} --benchmark res", (f"{RESULTS}/evaluate/res",)),
}
TMPFS = 4096  # bytes of a page: what a file is rounded up to
_WORDS = re.compile(
    r"^(?:\[.*?\])?\s*((?:error: |Error: |Will exit |Terminating |Exiting ).*)$", re.MULTILINE
)
_seconds: dict[tuple[str, ...], float] = {}


class Outcome(NamedTuple):
    """How one try ended: EQUAL, TOLD or LOST, and what was said on the way."""

    kind: str
    said: str = ""


Disturbance = Callable[[Disturbed, int, Random], Outcome]


def words(said: str) -> str:
    """The sentence for the user in what a command said; empty where there is none, or a traceback beside it."""
    found = _WORDS.findall(said)
    return found[0].strip() if found and "Traceback (most recent call last)" not in said else ""


def undisturbed_seconds(bench: Disturbed, command: str, *without: str) -> float:
    """How long a command takes where these files are absent, measured once."""
    if (command, *without) not in _seconds:
        bench.reset(*without)
        started = time.monotonic()
        code, said = bench.run(command)
        assert code == 0, said
        assert not bench.differing(), bench.differing()
        _seconds[command, *without] = time.monotonic() - started
    return _seconds[command, *without]


def begun(bench: Disturbed, chance: Random, command: str, *without: str) -> Command:
    """A command that has run for a random share of its time; once more where it had ended before that."""
    seconds = undisturbed_seconds(bench, command, *without)
    while True:
        bench.reset(*without)
        running, started = bench.start(command), time.monotonic()
        try:
            running.process.wait(chance.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            return running
        bench.missed += 1
        seconds = time.monotonic() - started


def _rerun(bench: Disturbed, command: str, said: str = "") -> Outcome:
    """The outcome of running the command again."""
    code, again = bench.again(command)
    bench.count_litter()
    if code:
        return Outcome(LOST, f"the rerun ended with {code}: {words(again) or again[-300:]}")
    wrong = bench.differing()
    return Outcome(LOST, f"other bytes: {', '.join(wrong)[:300]}") if wrong else Outcome(EQUAL, said)


def killed(command: str, *without: str) -> Disturbance:
    """SIGKILL of everything, as if the power were cut."""

    def disturbance(bench: Disturbed, _: int, chance: Random) -> Outcome:
        running = begun(bench, chance, command, *without)
        bench.cut_power(running)
        if half := bench.differing(complete=False):
            return Outcome(LOST, f"half-written under its final name: {', '.join(half)[:300]}")
        before = bench.unlocked
        outcome = _rerun(bench, command)
        return outcome._replace(said="after `snakemake --unlock`") if bench.unlocked > before else outcome

    return disturbance


def sigterm_to_snakemake(bench: Disturbed, _: int, chance: Random) -> Outcome:
    """What a cluster's scheduler sends before it kills."""
    running = begun(bench, chance, PIPELINE, *FROM_ATTENTION_ON)
    running.process.terminate()
    code, said = running.end()
    if "Traceback" in said:
        return Outcome(LOST, "a traceback")
    return _rerun(bench, PIPELINE, words(said) if code else "")


def job_ended(number: signal.Signals) -> Disturbance:
    """A signal to one of the jobs alone; an extraction or an embedding is tried once more by Snakemake itself."""

    def disturbance(bench: Disturbed, _: int, chance: Random) -> Outcome:
        running = begun(bench, chance, PIPELINE, *FROM_ATTENTION_ON)
        while running.is_running and not (jobs := bench.jobs()):
            time.sleep(0.01)
        if running.is_running:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended this very moment
                jobs[0].send_signal(number)
        code, said = running.end()
        if "Traceback" in said:
            return Outcome(LOST, "a traceback")
        return _rerun(bench, PIPELINE, words(said) if code else "")

    return disturbance


def killed_reader(bench: Disturbed, _: int, chance: Random) -> Outcome:
    """SIGKILL, as a memory limit does it, of the process that reads shards ahead of the training."""
    command, without = STEPS["train"]
    bench.reset(*without)
    bench.set("train", "workers", value=1)
    running = bench.start(command)
    while running.is_running and not (
        readers := [more for job in bench.jobs()[:1] for more in job.children()]
    ):
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.2))
    kill_all(readers)
    code, said = running.end()
    if code and not words(said):
        return Outcome(LOST, f"no sentence: {said[-300:]}")
    return _rerun(bench, command, words(said))


def flipped_bit(path: Path, chance: Random) -> None:
    """Another bit anywhere in the file."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def flipped_bit_of_the_footer(path: Path, chance: Random) -> None:
    """Another bit in Parquet's list of columns and pages, which carries no checksum."""
    data = bytearray(path.read_bytes())
    length = 8 + int.from_bytes(data[-8:-4], "little")
    data[-chance.randint(1, length)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut_short(path: Path, chance: Random) -> None:
    """The file's beginning alone."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def damaged_shard(damage: Callable[[Path, Random], None]) -> Disturbance:
    """Damage in a finished project, whose head and predictions have to be made again from the shards."""

    def disturbance(bench: Disturbed, _: int, chance: Random) -> Outcome:
        bench.reset(f"{RESULTS}/train", f"{RESULTS}/evaluate/res")
        roots = [bench.folder / "cache" / step for step in ("extract", "embed")]
        path = chance.choice(sorted(found for root in roots for found in root.rglob("*.parquet")))
        name = str(path.relative_to(bench.folder))
        damage(path, chance)
        code, said = bench.run("flmm cache verify")
        verified = "; verify names it" if code == 1 and name in said else "; verify does not notice it"
        code, said = bench.run(PIPELINE)
        if code == 0:
            wrong = bench.differing(only="results")
            return (
                Outcome(LOST, ", ".join(wrong)[:300]) if wrong else Outcome(EQUAL, f"no value hit{verified}")
            )
        if name not in words(said):
            return Outcome(LOST, f"no sentence about the shard: {said[-300:]}")
        path.unlink()  # as the sentence says
        outcome = _rerun(bench, PIPELINE)
        return Outcome(TOLD, words(said) + verified) if outcome.kind == EQUAL else outcome

    return disturbance


def full_disk(bench: Disturbed, number: int, chance: Random) -> Outcome:
    """A disk of its own for the cache or for the results that is too small, and then is made larger."""
    name = ("cache", "results")[number % 2]
    bench.reset(*FROM_ATTENTION_ON)
    whole = sum(
        -(-path.stat().st_size // TMPFS) * TMPFS
        for path in (bench.folder.parent / "saved" / name).rglob("*")
        if path.is_file()
    )
    disk = bench.folder / name
    bench.reset(*FROM_ATTENTION_ON, name)
    disk.mkdir()
    size = int(whole * chance.uniform(0.1, 0.9))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        code, said = bench.run(PIPELINE)
        if code and not words(said):
            return Outcome(LOST, f"no sentence: {said[-300:]}")
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
        return _rerun(bench, PIPELINE, words(said))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def two_at_once(bench: Disturbed, number: int, chance: Random) -> Outcome:
    """The same command in a second terminal: at once, or while the first is at work."""
    if number:
        first = begun(bench, chance, PIPELINE, *FROM_ATTENTION_ON)
    else:
        bench.reset(*FROM_ATTENTION_ON)
        first = bench.start(PIPELINE)
    ends = [bench.start(PIPELINE).end(), first.end()]
    refused = [said for code, said in ends if code]
    if len(refused) > 1 or not all(map(words, refused)):
        return Outcome(LOST, " / ".join(said[-200:] for said in refused))
    return _rerun(bench, PIPELINE, "".join(map(words, refused)))


WHOLE = tuple(name for name in MADE if name != "params.yaml")
DISTURBANCES: dict[str, Disturbance] = {
    **{f"kill -9 of {name}": killed(command, *made) for name, (command, made) in STEPS.items()},
    "kill -9 of the whole pipeline": killed(PIPELINE, *WHOLE),
    "a bit flipped in a shard": damaged_shard(flipped_bit),
    "a bit flipped in a shard's footer": damaged_shard(flipped_bit_of_the_footer),
    "a shard cut short": damaged_shard(cut_short),
    "a disk that fills": full_disk,
    "two pipelines at once": two_at_once,
    "SIGTERM to Snakemake": sigterm_to_snakemake,
    "SIGTERM to a job": job_ended(signal.SIGTERM),
    "kill -9 of a job": job_ended(signal.SIGKILL),
    "a reader of shards killed": killed_reader,
}
