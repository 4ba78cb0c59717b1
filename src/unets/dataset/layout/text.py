"""The text of a competition's config files, as a careful person would write them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from unets.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
)
from unets.dataset.layout.doubts import Doubt
from unets.dataset.layout.experiments import Proposal
from unets.dataset.layout.guess import Guess

_WIDTH = 120
_PARTS: dict[str, type[Config]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "prediction": PredictionConfig,
}


def write_dataset_text(competition: str, guess: Guess) -> str:
    """Writes dataset.py."""
    height, width = guess.photo_hw
    size = f"{height} x {width} pixels" if guess.fields.get("size_hw") else f"mostly {height} x {width} pixels"
    counts = f"{guess.num_train} training and {guess.num_test} test photos, {size}, {guess.num_groups} groups."
    advice = "Guessed by `make new`; what is marked as a doubt is to be settled by you." if guess.doubts else ""
    advice = advice or "Guessed by `make new` from the files."
    doubts = {name: [d for d in guess.doubts if d.field == name] for name in guess.fields}
    lines = [f'"""{competition}: {counts}', "", advice, '"""', "", "from unets.config import DatasetConfig", ""]
    lines.append("DATASET = DatasetConfig(")
    for name, value in guess.fields.items():
        lines += _comment(guess.comments.get(name, ""))
        for doubt in doubts[name]:
            lines += _comment(f"DOUBT: {doubt.why}. Else: {doubt.instead}.")
        lines += _write_field(name, value, 4)
    strangers = [doubt for doubt in guess.doubts if doubt.field not in guess.fields]
    for doubt in strangers:
        lines += _comment(f"DOUBT, {doubt.field}: {doubt.why}. Else: {doubt.instead}.")
    return "\n".join([*lines, ")", ""])


def write_experiment_text(competition: str, proposal: Proposal, *, on_gpu: bool) -> str:
    """Writes an experiment's file: only what differs from the defaults."""
    config = proposal.config
    given = {name: _find_changes(getattr(config, name)) for name in _PARTS}
    used = [kind.__name__ for name, kind in _PARTS.items() if given[name]]
    used += ["AugmentConfig"] if "augment" in given["data"] else []
    machine = "a GPU" if on_gpu else "a CPU, one fold: some minutes"
    lines = [
        f'"""U-Net at {proposal.why}. Meant for {machine}.',
        "",
        f"Run:      make pipeline COMPETITION={competition} EXP={proposal.name}",
        '"""',
        "",
        f"from unets.config import {', '.join(sorted([*used, 'ExperimentConfig']))}",
        "",
        "EXPERIMENT = ExperimentConfig(",
    ]
    for name, kind in _PARTS.items():
        if given[name]:
            lines += _write_call(name, kind.__name__, given[name])
    lines += (
        _comment("One fold is enough to see what works; all of them make a better submission.") if config.folds else []
    )
    lines += [f"    folds={config.folds!r},"] if config.folds else []
    return "\n".join([*lines, ")", ""])


def write_ensemble_text(competition: str, proposals: Sequence[Proposal], guess: Guess) -> str:
    """Writes ensemble.py."""
    names = _write_value(tuple(proposal.name for proposal in proposals))
    lines = [
        f'"""What a submission for {competition} is made of."""',
        "",
        "from unets.config import EnsembleConfig",
        "",
    ]
    if guess.fields.get("background_values") == ():
        lines += ["# No background: each pixel gets its most probable class, however sure that is."]
        lines += [f"ENSEMBLE = EnsembleConfig(experiments={names}, threshold=0.0)"]
    else:
        lines += [f"ENSEMBLE = EnsembleConfig(experiments={names})"]
    return "\n".join([*lines, ""])


def render_guess(guess: Guess, competition: str, words: str) -> str:
    """Renders for people what was guessed, what is doubted, and what to check.

    Args:
        guess: what was found.
        competition: its name.
        words: variables that each `make` command needs.
    """
    lines = ["guessed"]
    shown = {"counts": f"{guess.num_train} training and {guess.num_test} test photos, {guess.num_groups} groups"}
    shown |= {name: _write_value(value, is_regex="pattern" in name) for name, value in guess.fields.items()}
    for name, value in shown.items():
        why = guess.comments.get(name, "")
        lines += textwrap.wrap(
            f"{name:18} {value}" + (f"   ({why})" if why else ""),
            _WIDTH,
            subsequent_indent=" " * 21,
            initial_indent="  ",
        )
    lines += ["", _title_doubts(guess.doubts, competition)]
    for number, doubt in enumerate(guess.doubts, start=1):
        text = f"{number}. {doubt.field} = {doubt.chosen}: {doubt.why}. Else: {doubt.instead}."
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="     ")
    lines += ["", "to check"]
    for note in guess.notes:
        lines += textwrap.wrap(f"- {note}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    lines += ["", "next", f"  make check {words}", f"  make plan {words}", f"  make pipeline {words}"]
    if guess.truth:
        lines.append(f"  make score {words} GROUND_TRUTH=<INPUT>/{guess.truth}   # the test photos' masks are there")
    return "\n".join(lines)


def _title_doubts(doubts: Sequence[Doubt], competition: str) -> str:
    if not doubts:
        return "doubts: none"
    return f"doubts ({len(doubts)}): look at these first, and change configs/{competition}/dataset.py where I am wrong"


def _find_changes(config: Config) -> dict[str, Any]:
    """Returns the fields that differ from the defaults."""
    fields = type(config).model_fields
    return {name: getattr(config, name) for name in fields if getattr(config, name) != fields[name].default}


def _write_call(name: str, kind: str, fields: Mapping[str, Any]) -> list[str]:
    words = ", ".join(f"{key}={_write_value(value)}" for key, value in fields.items())
    line = f"    {name}={kind}({words}),"
    if len(line) <= _WIDTH:
        return [line]
    return [f"    {name}={kind}(", *(f"        {key}={_write_value(v)}," for key, v in fields.items()), "    ),"]


def _write_field(name: str, value: Any, indent: int) -> list[str]:
    text = _write_value(value, is_regex="pattern" in name)
    line = f"{' ' * indent}{name}={text},"
    if len(line) <= _WIDTH or not isinstance(value, tuple):
        return [line]
    inner = [f"{' ' * (indent + 4)}{_write_value(part)}," for part in value]
    return [f"{' ' * indent}{name}=(", *inner, f"{' ' * indent}),"]


def _write_value(value: Any, *, is_regex: bool = False) -> str:
    if isinstance(value, str):
        mark = "r" if is_regex and "\\" in value else ""
        body = value if mark else value.replace("\\", "\\\\")
        return f'{mark}"{body}"' if '"' not in value else repr(value)
    if isinstance(value, tuple):
        inner = ", ".join(_write_value(part) for part in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, AugmentConfig):
        return f"AugmentConfig({', '.join(f'{k}={_write_value(v)}' for k, v in _find_changes(value).items())})"
    return repr(value)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text[:1].upper() + text[1:], _WIDTH - 4, initial_indent="    # ", subsequent_indent="    # ")
