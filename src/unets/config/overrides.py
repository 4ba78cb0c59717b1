"""Changes of an experiment's fields from outside its file: `training.epochs=3`, which become part of its name.

`unet_512` with `training.epochs=3` is another experiment, `unet_512+training.epochs=3`: a name that `load_experiment`
reads again, and that is safe as a folder's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args, get_origin
from urllib.parse import quote, unquote

from pydantic import TypeAdapter, ValidationError

from unets.config.base import Config, describe
from unets.config.experiment import ExperimentConfig
from unets.errors import InputError, suggest

LONGEST_NAME = 200  # characters; file systems take 255 bytes, of which temporary names need some


def name_experiment(name: str, settings: Sequence[str] = ()) -> str:
    """Returns the one name of an experiment with overrides, however they are spelled and ordered.

    Of a path that is given twice the last counts. Raises InputError where one of `settings`, `path=value` each, as
    `data.size_hw=320x480`, names no field of `ExperimentConfig`, or its value has another type.
    """
    base, own = _split(name)
    found = {path: _format(_parse(path, text)) for path, text in (*own, *map(_split_setting, settings))}
    full = "+".join([base, *(f"{path}={found[path]}" for path in sorted(found))])
    if len(full) > LONGEST_NAME:
        raise InputError(
            f"`--set` must leave the run's name within {LONGEST_NAME} characters. Received: {len(full)}; a config file "
            f"of its own takes any number of fields"
        )
    return full


def split_name(name: str) -> str:
    """Returns the name of the config file of an experiment, without overrides."""
    return name.partition("+")[0]


def override(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    """Returns an experiment with the overrides of a name. Raises InputError where one is no field, or impossible."""
    content = experiment.model_dump()
    for path, text in _split(name)[1]:
        place, (*folders, last) = content, path.split(".")
        for folder in folders:
            if not isinstance(place[folder], dict):  # such as augment=None: its fields start from their defaults
                place[folder] = {}
            place = place[folder]
        place[last] = _parse(path, text)
    try:
        return ExperimentConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{name}: {describe(error)}") from error


def list_fields() -> list[str]:
    """Returns the paths of all fields of an experiment: `data.size_hw`, `training.epochs`, ..."""
    return [path for path, _ in _walk(ExperimentConfig)]


def _split(name: str) -> tuple[str, list[tuple[str, str]]]:
    base, *settings = name.split("+")
    return base, [(path, unquote(text)) for path, text in map(_split_setting, settings)]


def _split_setting(setting: str) -> tuple[str, str]:
    path, sign, text = setting.partition("=")
    if not sign:
        raise InputError(f"`--set` must be path=value, as training.epochs=3. Received: {setting}")
    return path.strip(), text.strip()


def _parse(path: str, text: str) -> Any:
    """Reads a value as its field's type wants it: none, JSON, text, or a list such as 320x480 or identity,hflip."""
    kind, bare = _find_type(path), text.strip("()[]").replace(" ", "")
    readings: list[Any] = [None] if text.lower() == "none" else []
    with suppress(ValueError, RecursionError):
        readings.append(json.loads(text))
    readings += [[part for part in bare.replace("~", ",").split(",") if part], bare.split("x"), text]
    faults = []
    for reading in readings:
        try:
            return TypeAdapter(kind).validate_python(reading)
        except ValidationError as error:
            faults.append(error)
    # That of an item, or that of the text, which is the last and the plainest.
    of_items = (one for one in faults if any(isinstance(place, int) for place in one.errors()[0]["loc"]))
    fault = next(of_items, faults[-1])
    words = [word for one in _list_kinds(kind) for word in get_args(one) if isinstance(word, str)]
    told = f"{fault.errors()[0]['msg']}. Received: {text}{suggest(text, words)}"
    raise InputError(f"`--set {path}`: {told}") from fault


def _format(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("e+", "e")
    if isinstance(value, list | tuple):
        gap = "~" if any(isinstance(item, str) for item in value) else "x"
        return gap.join(map(_format, value))
    if isinstance(value, Mapping | Config):
        raise InputError(
            "`--set` must name a field that holds a value, as training.loss_args.gamma=2; a whole dict "
            "stands in the experiment's file"
        )
    return quote(str(value), safe="").replace("~", "%7E")


def _find_type(path: str) -> Any:
    """Returns the type of a field, or of an entry of one that is a dict."""
    types, (above, _, entry) = dict(_walk(ExperimentConfig)), path.rpartition(".")
    if path in types:
        return types[path]
    dicts = [kind for kind in _list_kinds(types.get(above)) if get_origin(kind) is dict]
    if not (dicts and entry):
        raise InputError(f"`--set` must name a field of an experiment. Received: {path}{suggest(path, list(types))}")
    return get_args(dicts[0])[1]


def _walk(config: type[Config], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and type of each field, of those that are configs themselves where they may be none."""
    for name, field in config.model_fields.items():
        inner = [kind for kind in _list_kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, Config)]
        if field.annotation not in inner:
            yield f"{prefix}{name}", field.annotation
        for kind in inner:
            yield from _walk(kind, f"{prefix}{name}.")


def _list_kinds(kind: Any) -> tuple[Any, ...]:
    return (kind, *get_args(kind))
