"""dvc.yaml, the Snakefile and the step graph tell the same story."""

import re
from pathlib import Path

import yaml

from flmm.params import Params, load_params
from flmm.pipeline import content
from flmm.pipeline.bookkeeping import stage_of
from flmm.pipeline.code import modules
from flmm.pipeline.hashes import Hashes
from flmm.pipeline.keys import Keys
from flmm.pipeline.outputs import outputs
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from tests.workflow.conftest import REPOSITORY, Project

STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


def graph() -> Graph:
    return Graph(load_params(REPOSITORY / "params.yaml"))


def test_every_step_has_its_stage_which_depends_on_its_keys_and_holds_its_results() -> None:
    found = graph()
    for step in found.results:
        stage = STAGES[stage_of(step)]
        assert any(f"/keys/{stage_of(step)}" in dependency for dependency in stage["deps"]), step
        outs = [*stage.get("outs", []), *stage.get("metrics", [])]
        names = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
        held = [
            name.replace("${suite}", "shapes")
            .replace("${item.backbone}", step.backbone)
            .replace("${item.benchmark}", step.item)
            for name in names
        ]
        if step.name != "track":  # its runs are in MLflow
            assert all(
                any(str(path) == name or str(path).startswith(f"{name}/") for name in held)
                for path in outputs(found, step)
            ), step


def test_the_stages_are_those_of_dvc(project: Project) -> None:
    project.run("flmm", "keys")
    listed = set(re.findall(r"^([\w@-]+) ", project.run("dvc", "stage", "list", "--all"), re.MULTILINE))
    assert {name.partition("@")[0] for name in listed} == set(STAGES)
    for name in listed:
        stage, _, rest = name.partition("@shapes-llava")
        file = Path("results/shapes/keys") / stage / "shapes-llava" / rest.lstrip("-")
        if "@" in name:
            assert (project.folder / f"{str(file).rstrip('/')}.json").is_file(), name


def test_a_key_changes_with_its_params_and_with_nothing_else() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    assert changed(params, with_values(params, "train", weight_decay=0.5)) == {"train"}
    assert changed(params, with_values(params, "extract", dtype="bfloat16")) == {
        "extract",
        "keywords",
        "evaluate",
        "rival",
    }
    assert changed(params, with_values(params, "keywords", threshold=0.5)) == {"keywords"}
    assert changed(params, with_values(params, "evaluate", description_tokens=9)) == {"evaluate"}
    assert changed(params, with_values(params, "count", text_model="bert-base-uncased")) == {"count"}
    assert changed(params, with_values(params, "report", title="x")) == {"report"}
    assert changed(params, with_values(params, "train", workers=3)) == set()


def test_a_step_has_its_own_family_and_reader_and_no_others() -> None:
    found = graph()
    extract = modules(content.entries(found, Step("extract", "shapes-llava", "png-val")), Hashes())
    assert "flmm.backbones.llava" in extract
    others = {
        "flmm.backbones.mgm",
        "flmm.heads.unet",
        "flmm.params",
        "flmm.training_section",
        "flmm.ahead",
        "flmm.cli.steps",
    }
    assert not others & set(extract)
    described, spoken = (
        modules(content.entries(found, Step("evaluate", "shapes-llava", name)), Hashes())
        for name in ("gcg", "res")
    )
    assert "flmm.keywords" in described and "flmm.keywords" not in spoken
    assert Step("keywords", "shapes-llava") in found.reads(Step("evaluate", "shapes-llava", "gcg"))
    asking = "flmm.backbones.questions"
    hashes = Hashes()
    steps = {step for step in found.results if asking in modules(content.entries(found, step), hashes)}
    asked = {Step("evaluate", name, item) for name in found.params.backbones for item in ("pope", "mmbench")}
    assert steps == {*asked, *found.rivals}
    prepare = modules(content.entries(found, Step("prepare", item="pope-random")), Hashes())
    assert "flmm.data.pope" in prepare
    assert "flmm.data.png" not in prepare


def test_a_comment_and_a_docstring_are_no_code(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""One."""\nimport os\n\n\ndef f(x):\n    """Two."""\n    return os.path.join(x, "a")\n')
    before, imports = Hashes(tmp_path / "memory.json").code(file)
    assert imports == ["os"]
    file.write_text('"""Other."""\nimport os  # x\n\ndef f(x):\n    return os.path.join(x,\n        "a")\n')
    assert Hashes(tmp_path / "memory.json").code(file)[0] == before
    file.write_text('import os\n\ndef f(x):\n    return os.path.join(x, "b")\n')
    assert Hashes(tmp_path / "memory.json").code(file)[0] != before


def test_hashes_are_remembered_until_size_or_date_changes(tmp_path: Path) -> None:
    file, memory = tmp_path / "weights", tmp_path / "memory.json"
    file.write_bytes(b"one")
    hashes = Hashes(memory)
    first = hashes.file(file)
    hashes.save()
    memory.write_text(memory.read_text().replace(first, "remembered"))
    assert Hashes(memory).file(file) == "remembered"
    file.write_bytes(b"other")
    assert Hashes(memory).file(file) not in ("remembered", first)
    memory.write_text("damaged")
    assert Hashes(memory).file(file)


def changed(params: Params, other: Params) -> set[str]:
    """The steps whose own keys differ."""
    one, two = Keys(Graph(params)), Keys(Graph(other))
    return {step.name for step in one.graph.results if one.own(step) != two.own(step)}


def with_values(params: Params, section: str, **values: object) -> Params:
    return params.model_copy(update={section: getattr(params, section).model_copy(update=values)})
