"""Values: what the pixels of mask files mean, as far as they tell; what they do not tell is a doubt."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from unets.config import MaskValue
from unets.data.files import read_bytes
from unets.dataset.layout.doubts import Doubt
from unets.dataset.layout.inventory import File
from unets.dataset.layout.looks import Look
from unets.errors import InputError

_VOID_NAMES = r"void|unlabel+ed|ignore[d]?|unknown|ignore region|not[ _]labell?ed|don'?t[ _]care"
_BACKGROUND_NAMES = r"background|bg|back[ _]ground|_background_|nothing|none"
_HALF = 0.5  # an object that covers more than this of all pixels is perhaps the background
_MANY = 20  # classes without names; more may be numbers of objects


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """Fields of the dataset's config, and what is doubtful about them."""

    fields: dict[str, Any]
    doubts: list[Doubt] = field(default_factory=list)


def find_meaning(look: Look, names: Mapping[MaskValue, str], *, is_united: bool) -> Meaning:
    """Says what the values of masks mean.

    Args:
        look: of many masks.
        names: of values or colours, from a list of classes; may be empty.
        is_united: whether each file is one object.

    Raises:
        InputError: the masks hold too many values to be classes.
    """
    total = sum(look.values.values())
    present = sorted(look.values, key=lambda value: value if isinstance(value, tuple) else (value, value, value))
    if look.is_soft and not names:
        return _find_soft(look)
    if not look.has_few_values and not look.is_coloured:
        return _find_objects(f"masks hold more than {len(present) - 1} values")
    if not look.has_few_values:
        what = "colours" if look.is_coloured else "values"
        raise InputError(
            f"mask files must hold at most 64 {what}, one a class. Received: more, in {look.num_seen} files; are these "
            f"masks of JPEG with several classes, or shades? Save them as PNG with a value a class"
        )
    if look.is_coloured and any(ending in (".jpg", ".jpeg") for ending in look.endings):
        raise InputError("masks of several colours must not be JPEG, which blurs colours. Received: .jpg; save as PNG")
    shares = {value: look.values[value] / total for value in present}
    if names:
        return _find_named(shares, names)
    if len(present) <= 2 and not look.is_coloured:
        return _find_single([int(value) for value in present if isinstance(value, int)], shares, look, is_united)
    if is_united:
        return _find_objects(f"files of one object hold {len(present)} values")
    return _find_several(present, shares, look)


def read_names(files: Sequence[File], *, is_given: bool = False) -> tuple[dict[MaskValue, str], str]:
    """Reads names of classes from a csv, txt or json that lists them; returns them by value or colour, and the file.

    Files that were not given count where their names speak of classes, labels, colours or the like.

    Understood are a csv with a name and a value or `r,g,b`; a json object `{"1": "car"}`, `{"car": 1}` or list; a txt
    with a name a line (from 0 on), or `value name`.
    """
    for file in files:
        if not is_given and not re.search(r"class|label|categor|colou?r|names|palette|codes", file.name.lower()):
            continue
        text = read_bytes(file.path).decode("utf-8-sig", errors="replace")
        found = parse_names(file.name, text)
        if found:
            return found, file.name
    return {}, ""


def parse_names(name: str, text: str) -> dict[MaskValue, str]:
    """Reads names of classes from a text; empty where it is something else. See `read_names`."""
    try:
        if name.endswith(".json"):
            return _parse_json(json.loads(text))
        if name.endswith(".csv"):
            return _parse_table(list(csv.DictReader(StringIO(text))))
        return _parse_lines(text)
    except (ValueError, csv.Error, TypeError):
        return {}


def _parse_json(content: Any) -> dict[MaskValue, str]:
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return dict(enumerate(content))
    if not isinstance(content, dict):
        return {}
    if all(str(key).isdecimal() and isinstance(name, str) for key, name in content.items()):
        return {int(key): name for key, name in content.items()}
    if all(isinstance(value, int) for value in content.values()):
        return {value: name for name, value in content.items()}
    if all(isinstance(value, list) and len(value) == 3 for value in content.values()):
        return {(int(v[0]), int(v[1]), int(v[2])): name for name, v in content.items()}
    return {}


def _parse_table(rows: Sequence[Mapping[str, str]]) -> dict[MaskValue, str]:
    if not rows or len(rows) > 256:
        return {}
    columns = {str(column).strip().lower(): column for column in rows[0]}
    name = next((columns[key] for key in ("name", "class", "class_name", "label", "category") if key in columns), None)
    if name is None:
        return {}
    if {"r", "g", "b"} <= columns.keys():
        return {(int(row[columns["r"]]), int(row[columns["g"]]), int(row[columns["b"]])): row[name] for row in rows}
    value = next((columns[key] for key in ("value", "id", "index", "code", "label_id") if key in columns), None)
    return {int(row[value]): row[name].strip() for row in rows} if value else {}


def _parse_lines(text: str) -> dict[MaskValue, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 2 <= len(lines) <= 256 or any("/" in line or "." in line for line in lines):
        return {}
    coloured = [re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\D.*)", line) for line in lines]
    if all(coloured):
        return {(int(m[1]), int(m[2]), int(m[3])): m[4].strip() for m in coloured if m}
    numbered = [re.fullmatch(r"(\d+)[\s,:;=]+(\D.*)", line) for line in lines]
    if all(numbered):
        return {int(match[1]): match[2].strip() for match in numbered if match}
    return dict(enumerate(lines)) if all(re.fullmatch(r"[A-Za-z][\w \-]*", line) for line in lines) else {}


def _find_single(values: list[int], shares: Mapping[MaskValue, float], look: Look, is_united: bool) -> Meaning:
    """One class: 0 and one other value."""
    doubts = []
    if len(values) == 1:
        value = values[0] or 255
        doubts.append(
            Doubt(
                field="mask_values",
                chosen=f"({value},)",
                why=f"{look.num_seen} masks hold nothing but {values[0]}: are they masks?",
                instead="the value of the object",
            )
        )
        return Meaning(fields={"classes": ("object",), "mask_values": (value,)}, doubts=doubts)
    low, high = values
    fields: dict[str, Any] = {"classes": ("object",), "mask_values": (high,)}
    if low != 0:
        fields["background_values"] = (low,)
    share = shares[high]
    if share > _HALF and not is_united:
        other = f"mask_values=({low},), background_values=({high},)"
        doubts.append(
            Doubt(
                field="mask_values",
                chosen=f"({high},)",
                why=f"{high} covers {share:.0%} of all pixels: it may be the background, and the mask inverted",
                instead=other,
            )
        )
    return Meaning(fields=fields, doubts=doubts)


def _find_objects(why: str) -> Meaning:
    """One class whose objects have a number each."""
    doubt = Doubt(
        field="mask_threshold",
        chosen="1",
        why=f"{why}: taken for numbers of objects, every value above 0 is object",
        instead="mask_values=... and no mask_threshold, if the values are classes; 128, if they are shades",
    )
    return Meaning(fields={"classes": ("object",), "mask_values": (255,), "mask_threshold": 1}, doubts=[doubt])


def _find_soft(look: Look) -> Meaning:
    what = "JPEG, which blurs them" if any(e in (".jpg", ".jpeg") for e in look.endings) else "soft borders"
    high = sum(count for value, count in look.values.items() if isinstance(value, int) and value >= 128)
    doubts = [
        Doubt(
            field="mask_threshold",
            chosen="128",
            why=f"masks hold shades between 0 and 255 ({what})",
            instead="masks without shades, if there are any; another threshold",
        )
    ]
    share = high / max(sum(look.values.values()), 1)
    if len(look.values) <= 64 and share > _HALF:
        doubts.append(
            Doubt(
                field="mask_values",
                chosen="(255,)",
                why=f"what is bright covers {share:.0%} of all pixels: the mask may be inverted",
                instead="mask_values=(0,), background_values=(255,)",
            )
        )
    return Meaning(fields={"classes": ("object",), "mask_values": (255,), "mask_threshold": 128}, doubts=doubts)


def _find_named(shares: Mapping[MaskValue, float], names: Mapping[MaskValue, str]) -> Meaning:
    """Classes by a list of names: void and background are known by theirs."""
    ignored = [value for value, name in names.items() if re.fullmatch(_VOID_NAMES, name.lower())]
    background = [value for value, name in names.items() if re.fullmatch(_BACKGROUND_NAMES, name.lower())]
    classes = {value: name for value, name in names.items() if value not in (*ignored, *background)}
    doubts = []
    strangers = [value for value in shares if value not in names]
    zero: MaskValue = (0, 0, 0) if any(isinstance(value, tuple) for value in names) else 0
    if zero in strangers:
        background.append(zero)
        strangers.remove(zero)
    if 255 in strangers:
        ignored.append(255)
        strangers.remove(255)
        doubts.append(_doubt_void(255, shares[255]))
    if strangers:
        ignored += strangers
        doubts.append(
            Doubt(
                field="ignore_values",
                chosen=str(tuple(ignored)),
                why=f"masks hold {strangers}, which the list of classes does not name",
                instead="more classes, or background_values",
            )
        )
    missing = [name for value, name in classes.items() if value not in shares]
    if missing:
        doubts.append(
            Doubt(
                field="classes",
                chosen="all that the list names",
                why=f"no mask that was read holds {', '.join(missing)}",
                instead="the classes that there are",
            )
        )
    return Meaning(fields=_build_fields(classes, background, ignored), doubts=doubts)


def _find_several(present: Sequence[MaskValue], shares: Mapping[MaskValue, float], look: Look) -> Meaning:
    """Classes without names."""
    zero: MaskValue = (0, 0, 0) if look.is_coloured else 0
    levels = [value for value in present if isinstance(value, int)]
    ignored: list[MaskValue] = [255] if 255 in levels and max(set(levels) - {255}) < 128 else []
    background = [zero] if zero in present else []
    rest = [value for value in present if value not in (*ignored, *background)]
    doubts = []
    if len(rest) > 1:
        doubts.append(
            Doubt(
                field="classes",
                chosen="class_1, class_2, ...",
                why="no csv, txt or json with names of classes was found",
                instead="their names; or `make new` again with CLASSES=a file that lists them",
            )
        )
    if len(rest) > _MANY and not look.is_coloured:
        doubts.append(
            Doubt(
                field="mask_values",
                chosen=f"{len(rest)} classes",
                why="so many values may be numbers of objects",
                instead='classes=("object",), mask_values=(255,), mask_threshold=1',
            )
        )
    if ignored:
        doubts.append(_doubt_void(255, shares[255]))
    if background and shares[zero] < max(shares.values()):
        doubts.append(
            Doubt(
                field="background_values",
                chosen=str(tuple(background)),
                why=f"{zero} ({shares[zero]:.0%} of all pixels) may be a class, or unlabelled",
                instead=f"background_values=() with {zero} in mask_values or in ignore_values",
            )
        )
    names = {value: f"class_{i}" if len(rest) > 1 else "object" for i, value in enumerate(rest, start=1)}
    fields = _build_fields(names, background, ignored)
    return Meaning(fields=fields, doubts=doubts)


def _build_fields(
    classes: Mapping[MaskValue, str], background: Sequence[MaskValue], ignored: Sequence[MaskValue]
) -> dict[str, Any]:
    fields: dict[str, Any] = {"classes": tuple(classes.values()), "mask_values": tuple(classes)}
    if tuple(background) != (0,):
        fields["background_values"] = tuple(background)
    if ignored:
        fields["ignore_values"] = tuple(ignored)
    return fields


def _doubt_void(value: int, share: float) -> Doubt:
    return Doubt(
        field="ignore_values",
        chosen=f"({value},)",
        why=f"{value} ({share:.1%} of all pixels) is taken for what nobody labelled, as in PASCAL VOC",
        instead=f"{value} in mask_values, if it is a class",
    )
