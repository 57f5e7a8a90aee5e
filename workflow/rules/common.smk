# What all rules share: the checked params, the keys of flmm/keys.py and the names of parts. No rule.
import os
import shutil
import sys
from pathlib import Path

from flmm import keys, paths
from flmm.errors import InputError
from flmm.params import load_params


envvars:
    "PATH",


# The rules call `flmm` of the environment that runs Snakemake, whether or not that environment is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

try:
    P = load_params()
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

SOURCES = list(P.active.sources)
GROUNDING = paths.grounding_parts(P)
REASONING = paths.reasoning_parts(P)
QUESTIONS = paths.question_parts(P)
BENCHMARKS = paths.benchmarks(P)
TRAIN_PARTS = [part for part in GROUNDING if part.endswith("-train")]

MIRROR = str(paths.mirror())
RAW = expand("data/raw/{suite}/{source}", suite=P.suite, source=SOURCES)
SAMPLES = [str(paths.samples(P, part)) for part in GROUNDING + REASONING + QUESTIONS] + [
    f"data/samples/{P.suite}/summary.json"
]
GROUNDING_SAMPLES = [str(paths.samples(P, part)) for part in GROUNDING]
EMBED_SHARDS = str(paths.embed_shards(P.active.segmenter.name, keys.embed_key(P)) / "manifest.json")
EMBED_MANIFEST = f"results/{P.suite}/embed/manifest.json"
EXTRACT_KEY = {backbone: keys.extract_key(P, backbone) for backbone in P.backbones}


# A GPU does one heavy job at a time. Without one, several jobs of one thread each get through more than one job of
# several (docs/workflow.md); trainings are few and long, so that they share all cores.
GPU = int(shutil.which("nvidia-smi") is not None)
THREADS = 4 if GPU else 1
TRAIN_THREADS = 4 if GPU else max(1, (os.cpu_count() or 1) // len(P.backbones))


wildcard_constraints:
    suite=P.suite,
    backbone="|".join(map(re.escape, P.backbones)),
    source="|".join(map(re.escape, SOURCES)),
    part="|".join(map(re.escape, GROUNDING)),
    benchmark="|".join(BENCHMARKS),
    key="[0-9a-f]{12}",


def mirrored(source):
    """The mirror's file that a source points to, or nothing for one that comes from elsewhere."""
    url = P.active.sources[source].url or ""
    return [url.removeprefix("file:")] if url.startswith(f"file:{MIRROR}/") else []


def extracted(backbone, parts):
    """The manifests of a backbone's attention shards."""
    return [
        str(paths.extract_shards(backbone, EXTRACT_KEY[backbone], part) / "manifest.json") for part in parts
    ]


def benchmark_inputs(wildcards):
    """What one benchmark reads: maps and embeddings for masks, questions and photographs for answers."""
    parts = paths.benchmark_parts(P, wildcards.benchmark)
    if wildcards.benchmark in paths.REASONED:
        # The training parts' maps choose the localization heads.
        return [str(paths.samples(P, part)) for part in parts] + extracted(wildcards.backbone, TRAIN_PARTS)
    if parts:
        return extracted(wildcards.backbone, parts + TRAIN_PARTS) + [EMBED_SHARDS]
    return [str(paths.samples(P, part)) for part in QUESTIONS if part.startswith(wildcards.benchmark)]
