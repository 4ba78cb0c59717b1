"""Groups: what ids have in common that must never stand on two sides of a fold, read from names or from a table."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_MOST_VIEWS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    """A way to read a group out of an id."""

    pattern: str  # a regular expression with a part `group`
    what: str  # in words, for people
    num_groups: int


SINGLE = "(?P<group>.+)"
# Ten neighbours a group: all but the last digit.
BLOCKS = r"(?P<group>.*?)\d"


def find_grouping(ids: Sequence[str]) -> Grouping | None:
    """Finds a group in ids like `car01_05`, `patient3_slice12`, `0001TP_006690`: what stands before the last number.

    Returns:
        None where no part of the ids repeats.
    """
    parted = [re.fullmatch(r"(.+?)([_\-. ]+[A-Za-z]*|(?<=\d)[A-Za-z]+)(\d+)", id_) for id_ in ids]
    if not all(parted):
        return None
    matches = [match for match in parted if match]
    sizes = Counter(match[1] for match in matches)
    if not 2 <= len(sizes) <= len(ids) // 2:
        return None
    marks = sorted({match[2] for match in matches})
    mark = re.escape(marks[0]) if len(marks) == 1 else "(?:" + "|".join(map(re.escape, marks)) + ")"
    mark = mark.replace(r"\_", "_").replace(r"\-", "-").replace(r"\ ", " ")
    last = _find_views(matches)
    before = f"what stands before the last number of an id ({_name_some(sizes)})"
    pattern = rf"(?P<group>.+){mark}{last}"
    if {match["group"] for id_ in ids if (match := re.fullmatch(pattern, id_))} == set(sizes):
        return Grouping(pattern=pattern, what=before, num_groups=len(sizes))
    return None


def count_groups(pattern: str, ids: Sequence[str]) -> int:
    """Returns how many groups a pattern makes of ids."""
    compiled = re.compile(pattern)
    return len({match["group"] for id_ in ids if (match := compiled.fullmatch(id_))})


def sort_naturally(ids: Sequence[str]) -> list[str]:
    """Sorts so that 2 comes before 10."""
    return sorted(ids, key=lambda id_: [(int(part), "") if part.isdigit() else (-1, part) for part in _part(id_)])


def find_group_column(rows: Sequence[Mapping[str, str]], ids: Sequence[str]) -> tuple[str, str, int] | None:
    """Finds the columns of a table that give ids and groups.

    Returns:
        (column of ids, column of groups, number of groups) where a column has nearly all ids, each once, and another
        names persons, places or the like several times; None otherwise.
    """
    if not rows:
        return None
    known = set(ids)
    for column in rows[0]:
        cells = [row[column] for row in rows]
        stems = {cell: cell.rpartition(".")[0] if cell.rpartition(".")[0] in known else cell for cell in cells}
        hits = {stems[cell] for cell in cells} & known
        if len(hits) < 0.9 * len(known) or len(set(cells)) < len(cells):
            continue
        inside = [row for row in rows if stems[row[column]] in known]
        for other in sorted(rows[0], key=lambda name: not re.search(_GROUP_NAMES, name.lower())):
            groups = {row[other] for row in inside}
            is_named = re.search(_GROUP_NAMES, other.lower()) is not None
            if other != column and is_named and 2 <= len(groups) <= len(inside) // 2:
                return column, other, len(groups)
    return None


_GROUP_NAMES = r"patient|subject|person|case|study|group|video|scene|site|plate|slide|well|field|animal|car"


def _find_views(matches: Sequence[re.Match[str]]) -> str:
    """Returns the pattern of the last number: a view, where all groups have the same few, of one width."""
    views: dict[str, set[str]] = defaultdict(set)
    for match in matches:
        views[match[1]].add(match[3])
    sets = [frozenset(found) for found in views.values()]
    same, count = Counter(sets).most_common(1)[0]
    widths = {len(view) for view in same}
    if 2 <= len(same) <= _MOST_VIEWS and count >= 0.9 * len(sets) and len(widths) == 1:
        return r"(?P<view>\d+)"
    return r"\d+"


def _name_some(names: Mapping[str, int]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def _part(id_: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", id_) if part]
