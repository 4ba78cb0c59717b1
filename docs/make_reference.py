"""Writes the pages of the reference that are generated: commands, settings, losses; from the code that defines them.

Run:  python docs/make_reference.py            (a test holds the pages to the code)
"""

import ast
import inspect
import re
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import typer

from unets import config
from unets.cli.app import load_app

FOLDER = Path(__file__).parent / "reference"
ROOTS = {
    "Data set (`dataset.py`)": config.DatasetConfig,
    "Experiment (any other file)": config.ExperimentConfig,
    "Ensemble (`ensemble.py`, `ensemble_<name>.py`)": config.EnsembleConfig,
}


def main() -> None:
    """Writes the pages."""
    for name, text in render_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def render_pages() -> dict[str, str]:
    """Returns the generated pages by their file names."""
    return {"cli.md": render_commands(), "configuration.md": render_schemas(), "losses.md": render_losses()}


def render_losses() -> str:
    """Renders every loss from its docstring, by the source: importing it takes seconds."""
    module = ast.parse((FOLDER.parents[1] / "src/unets/nets/losses.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    parts = ["# Losses", ast.get_docstring(module) or ""]
    parts.append("`training.loss` names one, or a weighted sum; generated from `src/unets/nets/losses.py`.")
    for name in get_args(config.LossName):
        arguments = functions[name].args
        pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        named = [f"`{arg.arg}` ({ast.unparse(default)})" for arg, default in pairs if default is not None]
        said = ast.get_docstring(functions[name]) or ""
        own = [one for one in named if not one.startswith("`class_weights`")]
        parts += [f"## {name}", said, *([f"`training.loss_args`: {', '.join(own)}"] if own else [])]
    return "\n\n".join(parts) + "\n"


def render_schemas() -> str:
    """Renders every schema as a table of its fields."""
    parts = [
        "# Settings",
        "Generated from the schemas in `src/unets/config/`. A competition is a folder `configs/<competition>/`; a file "
        "says only what differs from these defaults. `--set training.epochs=3` changes one for a run, and becomes part "
        "of the run's name. What is unknown or impossible fails when the file is loaded.",
    ]
    for title, root in ROOTS.items():
        parts.append(f"## {title}")
        for schema in (root, *list_nested(root)):
            parts += [f"### {schema.__name__}", inspect.cleandoc(schema.__doc__ or ""), _render_fields(schema)]
    return "\n\n".join(parts) + "\n"


def list_nested(root: type[config.Config]) -> list[type[config.Config]]:
    """Lists the schemas that fields of a schema hold, in the order of their names."""
    known, pending = dict[str, type[config.Config]](), [config.Config]
    while pending:
        schema = pending.pop()
        known[schema.__name__] = schema
        pending += schema.__subclasses__()
    return [known[name] for name in root.model_json_schema().get("$defs", {}) if name in known]


def render_commands() -> str:
    """Renders every command: what it does, its options; those that many share stand once, at the end."""
    group: Any = typer.main.get_command(load_app())
    commands = {name: one for name, one in group.commands.items() if not one.hidden}
    rows_of = {name: _render_parameters(name, command) for name, command in commands.items()}
    counts = Counter(row for rows in rows_of.values() for row in rows)
    shared = [row for row, count in counts.items() if count > len(commands) / 3]
    parts = [
        "# Commands",
        "Generated from the command's own help. `unets COMMAND --help` shows the same; `unets --install-completion` "
        "adds completion to the shell. Targets of `make` are one line each over these: `make train EXP=unet FOLD=0` is "
        "`unets train --exp unet --fold 0`.",
    ]
    for name, command in commands.items():
        own = [row for row in rows_of[name] if row not in shared]
        parts += [f"## unets {name}", *_render_texts(command)]
        if own:
            parts.append(_render_table(own))
        if len(own) < len(rows_of[name]):
            parts.append("And [options that stages share](#shared-options).")
    parts += ["## Shared options", _render_table(shared)]
    return "\n\n".join(parts) + "\n"


def _render_texts(command: Any) -> list[str]:
    """Returns what a command does, and its examples as a block."""
    lines = inspect.cleandoc(command.epilog or "").replace("\b", "").splitlines()
    examples = [re.sub(r" +\((.*)\)$", r"  # \1", line.strip().strip("`")) for line in lines if "unets " in line]
    block = ["```sh\n" + "\n".join(examples) + "\n```"] if examples else []
    return [inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", ""), *block]


def _render_parameters(name: str, command: Any) -> list[str]:
    context = command.context_class(command, info_name=name)
    rows = []
    for parameter in command.params:
        words, meaning = parameter.get_help_record(context) or ("", "")
        if words:
            rows.append(f"| `{re.sub(' <[^>]*>', '', words)}` | {_escape(meaning)} |")
    return rows


def _render_table(rows: Sequence[str]) -> str:
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def _render_fields(schema: type[config.Config]) -> str:
    properties, comments = schema.model_json_schema()["properties"], read_comments(schema)
    rows = []
    for name, field in schema.model_fields.items():
        default = "required" if field.is_required() else f"`{_show(field.get_default(call_default_factory=True))}`"
        rows.append(f"| `{name}` | {_name_type(properties[name])} | {default} | {_escape(comments[name])} |")
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])


def read_comments(schema: type[config.Config]) -> dict[str, str]:
    """Reads what the source says of each field: comments above it and beside it."""
    found = dict[str, str]()
    for base in reversed(schema.__mro__):
        if issubclass(base, config.Config):
            found |= _read_own_comments(base)
    return found


def _read_own_comments(schema: type[config.Config]) -> dict[str, str]:
    source = dedent(inspect.getsource(schema))
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines, found = source.splitlines(), dict[str, str]()
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while lines[first - 2].lstrip().startswith("#"):
                first -= 1
            said = [comments[number] for number in range(first, (node.end_lineno or first) + 1) if number in comments]
            found[node.target.id] = " ".join(said)
    return found


def _show(default: object) -> str:
    if isinstance(default, config.Config):
        return f"{type(default).__name__}()"
    return repr(default)


def _name_type(schema: Mapping[str, Any]) -> str:
    """Names a type in words: `integer, 1 to 4096`, `none or disk`, `list of text`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[-1]
        return f"[{name}](#{name.lower()})"
    if "allOf" in schema:
        return _name_type(schema["allOf"][0])
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_name_type(one) for one in schema.get("anyOf", schema.get("oneOf")))
    if "enum" in schema or "const" in schema:
        return _join([f"`{value}`" for value in schema.get("enum", [schema.get("const")])])
    kind = schema.get("type", "any")
    if kind == "array":
        parts = [_name_type(part) for part in schema.get("prefixItems", ())]
        if parts:
            return f"{len(parts)} x ({parts[0]})" if len(set(parts)) == 1 else f"({'; '.join(parts)})"
        return f"list of ({_name_type(schema.get('items', {}))})"
    names = {"string": "text", "null": "None", "boolean": "True or False"}
    low, high = (schema.get(name, schema.get(f"exclusive{name.capitalize()}")) for name in ("minimum", "maximum"))
    bounds = "" if low is None and high is None else f", {low} to {high}" if high is not None else f", from {low}"
    return names.get(kind, kind) + bounds


def _join(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
