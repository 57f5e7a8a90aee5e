#!/usr/bin/env python3
"""Write docs/reference: every key of params.yaml and every command of `flmm`, from the code itself.

Run it after a change of either; a test compares the pages with the code.
"""

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer.main
import yaml
from pydantic import BaseModel

from flmm.by_suite import BY_SUITE
from flmm.cli import app
from flmm.files import write_text
from flmm.params import Params

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
PARAMS = ROOT / "params.yaml"
MADE = "<!-- Written by .ci/reference.py: edit the code or params.yaml, then run it. -->\n"
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "empty"}

PARAMS_HEAD = f"""{MADE}# params.yaml

Every number of the pipeline is in `params.yaml`. Nothing has a second default: a key that is missing, unknown or out of
its range ends with one line that names it, before anything starts. *Value* is the one that is committed. How a change
is found and what it reruns: [workflow.md](../workflow.md).
"""
CLI_HEAD = f"""{MADE}# The command flmm

`flmm COMMAND --help` says the same in a shell. `--params FILE` before the command names another file than
`params.yaml`.
Exit codes: 0 done, 2 bad input or usage, 1 a step that failed on good input, 130 stopped with Ctrl-C.
"""


@dataclass(frozen=True)
class Key:
    """One line of a table; ``path`` has ``<…>`` for a name that the user chooses."""

    path: str
    kind: str
    about: str = ""


def text(words: str) -> str:
    """Plain words as Markdown in a table's cell, with links to the pages of docs/ that they name."""
    parts = re.split(r"(`[^`]*`)", " ".join(words.split()).replace("``", "`"))
    plain = [
        re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](../\1)", part.replace("<", "&lt;").replace("*", r"\*"))
        for part in parts[::2]
    ]
    parts[::2] = plain
    return "".join(parts).replace("|", r"\|")


def kind_of(annotation: Any, limits: tuple[Any, ...] = ()) -> str:
    """A field's type and what its value may be, in words."""
    if hasattr(annotation, "__metadata__"):
        return kind_of(annotation.__origin__, (*limits, *annotation.__metadata__))
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(each, limits if each is not type(None) else ()) for each in inner)
    if origin is list:
        return f"list: {kind_of(inner[0])}{_limits(limits)}"
    if origin is tuple:
        return f"{len(inner)} values, each: {kind_of(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys of its own"
    return TYPES[annotation] + _limits(limits)


def _limits(limits: tuple[Any, ...]) -> str:
    """Ranges, lengths and patterns of a field; its checks in Python code are told by its comment."""
    found = []
    for limit in (each for one in limits for each in getattr(one, "metadata", [one])):
        signs = (("gt", "> "), ("ge", "≥ "), ("lt", "< "), ("le", "≤ "), ("min_length", "at least "))
        found += [
            f"{sign}{getattr(limit, name):g}"
            for name, sign in signs
            if getattr(limit, name, None) is not None
        ]
        if pattern := getattr(limit, "pattern", None):
            found.append(f"like `{pattern}`")
    return f", {', '.join(found)}" if found else ""


def keys(model: type[BaseModel], path: str = "") -> Iterator[Key]:
    """Every key of a section and of those inside it."""
    for name, field in model.model_fields.items():
        annotation, here = field.annotation, f"{path}{name}"
        inner = [annotation, *get_args(annotation)]
        models = [each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)]
        if get_origin(annotation) is dict and models:
            yield Key(f"{here}.<name>", "keys of its own", models[0].__doc__ or "")
            yield from keys(models[0], f"{here}.<name>.")
            continue
        if get_origin(annotation) is dict:
            continue  # a suite's part of a section, which has a table of its own
        optional = "" if field.is_required() else "; may be left out"
        about = (models[0].__doc__ or "") if models else ""
        yield Key(here, kind_of(annotation, tuple(field.metadata)) + optional, about)
        for each in models:
            yield from keys(each, f"{here}.")


class File:
    """params.yaml: the value and the comment of each key."""

    def __init__(self, path: Path) -> None:
        self._lines = path.read_text(encoding="utf-8").splitlines()
        self._values: dict[tuple[str, ...], str] = {}
        self._comments: dict[tuple[str, ...], str] = {}
        self._walk(yaml.compose("\n".join(self._lines)), ())

    def _walk(self, node: Any, path: tuple[str, ...]) -> None:
        for key, value in node.value:
            here = (*path, key.value)
            self._comments[here] = self._comment(key.start_mark.line)
            if isinstance(value, yaml.MappingNode):
                self._walk(value, here)
            elif isinstance(value, yaml.SequenceNode):
                self._values[here] = ", ".join(each.value for each in value.value)
            else:
                self._values[here] = value.value

    def _comment(self, line: int) -> str:
        """Beside the key, or else in the lines above it."""
        if found := re.search(r"\s#\s(.*)$", self._lines[line]):
            return found[1]
        above: list[str] = []
        while line > 0 and self._lines[line - 1].lstrip().startswith("# "):
            line -= 1
            above.insert(0, self._lines[line].lstrip().removeprefix("# "))
        return " ".join(above)

    def value(self, path: str) -> str:
        """Of a key, or what both suites say of it."""
        key = tuple(path.split("."))
        if key[0] in BY_SUITE and key not in self._values:
            found = {suite: self._values.get(("suites", suite, *key)) for suite in ("shapes", "paper")}
            return "; ".join(f"{suite}: `{value}`" for suite, value in found.items() if value)
        return f"`{self._values[key]}`" if self._values.get(key) else ""

    def comment(self, path: str) -> str:
        """Of a key, or of the first entry that says something where a name of the path is chosen by the user."""
        key = tuple(path.split("."))
        wanted = [key, ("suites", "<name>", *key)] if key[0] in BY_SUITE else [key]
        for known, comment in self._comments.items():
            if comment and any(_is_of(known, each) for each in wanted):
                return comment
        return ""


def _is_of(known: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return len(known) == len(wanted) and all(
        part in ("<name>", name) for name, part in zip(known, wanted, strict=True)
    )


def params_page() -> str:
    """Docs/reference/params.md."""
    file, parts = File(PARAMS), [PARAMS_HEAD]
    every = list(keys(Params))
    sections = list(dict.fromkeys(each.path.partition(".")[0] for each in every if "." in each.path))
    top = [each for each in every if each.path.partition(".")[0] not in sections]
    parts.append(_params_table("The run", "", top, file))
    for name in sections:
        inside = [each for each in every if each.path.startswith(f"{name}.")]
        about = next((each.about for each in every if each.path == name), "")
        parts.append(_params_table(name, about, inside, file))
    return "\n".join(parts)


def _params_table(title: str, about: str, rows: list[Key], file: File) -> str:
    heading = f"## {title}\n"
    comment = file.comment(title) if title in Params.model_fields else ""
    words = [text(about or comment[:1].upper() + comment[1:])]
    suite = (
        f"The keys with two values are in `suites.<suite>.{title}`, one value per suite."
        if title in BY_SUITE
        else ""
    )
    table = ["| key | value | type, allowed values | |", "|---|---|---|---|"]
    table += [
        f"| `{row.path}` | {file.value(row.path)} | {text(row.kind)} | {text(row.about or file.comment(row.path))} |"
        for row in rows
    ]
    return "\n".join([heading, *(f"{each}\n" for each in (*words, suite) if each), *table, ""])


def commands(group: Any, path: str = "flmm") -> Iterator[tuple[str, Any]]:
    """Every subcommand with its full name; of a group that does something by itself, that too."""
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:
            yield f"{path} {name}", command
        if inner is not None:
            yield from commands(command, f"{path} {name}")


def cli_page() -> str:
    """Docs/reference/cli.md."""
    found = sorted(commands(typer.main.get_command(app)), key=lambda each: each[0])
    overview = ["| command | |", "|---|---|"]
    overview += [
        f"| [`{name}`](#{name.replace(' ', '-')}) | {text(_first(each.help))} |" for name, each in found
    ]
    return "\n".join([CLI_HEAD, *overview, "", *(_command(name, each) for name, each in found)])


def _first(words: str | None) -> str:
    return (words or "").split("\n\n")[0]


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([name, *(_argument(each) for each in arguments)])
    paragraphs = [text(each) + "\n" for each in (command.help or "").split("\n\n")]
    rows = [
        f"| `{'`, `'.join(_names(each))}` | {_default(each)} | {text(each.help or '')} |"
        for each in command.params
        if each.name != "help" and not each.hidden
    ]
    table = ["| argument, option | default | |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join(
        [f"## {name}\n", *paragraphs, f"```\n{usage}{' [OPTIONS]' if rows else ''}\n```\n", *table]
    )


def _argument(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _names(parameter: Any) -> list[str]:
    argument = parameter.param_type_name == "argument"
    return [parameter.name.upper()] if argument else [*parameter.opts, *parameter.secondary_opts]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    default = parameter.default
    return "" if default in (None, "", False, ()) or callable(default) else f"`{default}`"


def pages() -> dict[Path, str]:
    """Each page's file and text."""
    return {PAGES / "params.md": params_page(), PAGES / "cli.md": cli_page()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content)
