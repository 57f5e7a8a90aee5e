"""dvc.yaml, the Snakefile and flmm/keys.py tell the same story."""

import ast
import re
from pathlib import Path

import yaml

from flmm import keys
from flmm.params import Params, load_params
from tests.workflow.conftest import REPOSITORY, Project

STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
STEPS_OF_STAGE = {
    "download": ("generate", "download")
}  # one stage for both: the mirror is no result of its own
WHOLE = {"catalogue.{backbone}": "catalogue"}  # DVC cannot name a key with dots in it
EXTRA = {
    "report": {"suite", "backbones"}
}  # which results a report shows; Snakemake sees them as other inputs
ENTRY = {
    "generate": "flmm/shapes/mirror/__init__.py",
    "download": "flmm/data/download.py",
    "prepare": "flmm/data/prepare.py",
    "extract": "flmm/extract.py",
    "embed": "flmm/embed.py",
    "train": "flmm/training/__init__.py",
    "evaluate": "flmm/evaluation/__init__.py",
    "report": "flmm/report/__init__.py",
    "track": "flmm/tracking/track.py",
}


def test_stages_list_the_params_of_their_steps() -> None:
    for stage, entry in STAGES.items():
        steps = STEPS_OF_STAGE.get(stage, (stage,))
        expected = {
            WHOLE.get(path, path).replace("{suite}", "${suite}")
            for step in steps
            for path in keys.PARAMS[step]
        }
        assert set(entry.get("params", [])) == expected | EXTRA.get(stage, set()), stage


def test_stages_depend_on_the_source_files_of_their_steps() -> None:
    for stage, entry in STAGES.items():
        steps = STEPS_OF_STAGE.get(stage, (stage,))
        code = {path for path in entry["deps"] if path.startswith("flmm/") and path != keys.MODELS}
        assert code == {path for step in steps for path in keys.SOURCES[step]}, stage


def test_a_step_names_every_module_that_it_imports() -> None:
    for step, entry in ENTRY.items():
        named = {path.as_posix() for path in keys.source_files(step)} | set(keys.PLUMBING)
        assert _imported(Path(entry)) <= named, step


def test_every_output_of_a_stage_is_made_by_a_rule(project: Project) -> None:
    made = re.findall(r"output: (.*)", project.run("snakemake", "--dry-run", "--quiet", "host"))
    files = {name for line in made for name in line.split(", ")}
    listed = project.run("dvc", "stage", "list", "--all")
    stages = set(re.findall(r"^([\w@-]+) ", listed, re.MULTILINE))
    assert stages == {stage + "@shapes-llava" * ("matrix" in entry) for stage, entry in STAGES.items()}
    for entry in STAGES.values():
        outs = [*entry.get("outs", []), *entry.get("metrics", [])]
        for out in outs:
            path = out.replace("${suite}", "shapes").replace("${item.backbone}", "shapes-llava")
            assert any(name == path or name.startswith(f"{path}/") for name in files), path


def test_a_key_changes_with_its_params_and_with_nothing_else() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    other = _with(params, "train", lr=0.5)
    changed = {step for step in keys.PARAMS if _key(params, step) != _key(other, step)}
    assert changed == {"train"}
    assert keys.extract_key(params, "shapes-llava") == keys.extract_key(other, "shapes-llava")
    other = _with(params, "extract", dtype="bfloat16")
    assert keys.extract_key(params, "shapes-llava") != keys.extract_key(other, "shapes-llava")
    assert keys.embed_key(params) == keys.embed_key(other)


def test_a_backbone_name_with_dots_has_params() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    found = keys.step_params(params, "extract", "llava-1.5-7b")
    assert found["catalogue.llava-1.5-7b"]["model"] == "llava-hf/llava-1.5-7b-hf"


def _key(params: Params, step: str) -> str:
    return keys.step_key(params, step, "shapes-llava")


def _with(params: Params, section: str, **values: object) -> Params:
    return params.model_copy(update={section: getattr(params, section).model_copy(update=values)})


def _imported(entry: Path) -> set[str]:
    """Every module of the package that ``entry`` imports, directly or not; plumbing is not followed."""
    waiting, seen = [entry], set()
    while waiting:
        path = waiting.pop()
        if path.as_posix() in seen:
            continue
        seen.add(path.as_posix())
        if path.as_posix() not in keys.PLUMBING:
            waiting += _imports(path)
    return seen


def _imports(path: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    candidates = [Path(*name.split(".")) for name in names if name.split(".")[0] == "flmm"]
    files = [file for name in candidates for file in (name.with_suffix(".py"), name / "__init__.py")]
    return [file for file in files if (REPOSITORY / file).is_file()]
