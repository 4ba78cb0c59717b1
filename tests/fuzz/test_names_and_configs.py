"""Names from a nasty alphabet, and configs from the neighborhood of what is allowed."""

import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from unets.config import (
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    check_name,
    list_fields,
    load_experiment,
    name_experiment,
)
from unets.errors import InputError

from .. import run_unets
from .damage import find_strangers, fuzzed

LETTERS = st.sampled_from(
    [*"aZ0-_ .,/\\:*?\"'`$&|;<>{}[]()~#%\n\r\t\0\x1b", "..", "../", "\u202e", "\ud800", "\u00e9", "\U0001f697"]
)
NAMES = st.lists(LETTERS, max_size=12).map("".join) | st.integers(190, 300).map("x".__mul__)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.floats(),
    NAMES,
    st.lists(st.integers(-1, 70_000), max_size=3),
)


@given(name=NAMES)
@fuzzed
def test_a_name_that_passes_stays_within_its_folder(tmp_path: Path, name: str) -> None:
    try:
        check_name(name, "`--name`")
    except InputError as error:
        assert "\n" not in str(error) and str(error).isprintable()
        return
    path = tmp_path / f".part-{name}.csv.gz"
    path.write_bytes(b"")
    assert path.resolve().parent == tmp_path.resolve()
    path.unlink()


@given(name=NAMES)
@fuzzed
def test_no_name_writes_outside_its_folder(make_competition: Any, tmp_path: Path, name: str) -> None:
    if not (tmp_path / "configs").exists():
        make_competition(num_groups=2, num_test_groups=1, num_views=1, size_hw=(32, 48))
    known = {tmp_path / part for part in ("configs", "input", "models", "submissions", "docs", "results")}
    if "\0" in name or "\ud800" in name:
        return  # no command line holds these
    for words in (["split", name], ["train", "tiny", "--exp", name], ["ensemble", "tiny", "--ensemble", name]):
        assert run_unets(*words, "--root", tmp_path, "--input", tmp_path / "input", "--jobs", "1") in (0, 1, 2)
        assert not find_strangers(tmp_path, known)
        assert {path.name for path in (tmp_path / "configs").iterdir()} == {"tiny"}


@pytest.mark.parametrize("kind", [ExperimentConfig, DatasetConfig, EnsembleConfig])
@given(data=st.data())
@fuzzed
def test_a_config_is_refused_or_survives_json(kind: Any, data: st.DataObject) -> None:
    paths = list_fields() if kind is ExperimentConfig else list(kind.model_fields)
    *folders, last = data.draw(st.sampled_from(paths)).split(".")
    content: Any = kind(**({"experiments": ("a", "b")} if kind is EnsembleConfig else {})).model_dump()
    reduce(dict.__getitem__, folders, content)[last] = data.draw(VALUES)
    try:
        config = kind.model_validate(content)
    except ValidationError:
        return
    assert kind.from_json(config.to_json(), "config") == config
    assert "NaN" not in config.to_json() and "Infinity" not in config.to_json()


@given(path=st.sampled_from(list_fields()), value=VALUES)
@fuzzed
def test_an_override_is_refused_or_names_one_experiment(tmp_path: Path, path: str, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    (tmp_path / "unet.py").write_text("from unets.config import *\nEXPERIMENT = ExperimentConfig()\n")
    try:
        name = name_experiment("unet", [f"{path}={text}"])
        check_name(name, "`--set`")
        config = load_experiment(tmp_path, name)
    except InputError as error:
        assert "--set" in str(error) or "unet" in str(error)
        return
    assert name_experiment(name) == name
    assert load_experiment(tmp_path, name) == config
