"""Words that this repository replaced by the field's own do not come back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

# What is not said, and what is said instead. An underscore ends a word: `oof_dice_csv` has the words oof, dice, csv.
REPLACED = {
    r"(?<!ground[ _-])(?<![/\"])truths?(?![/\"])": "ground truth",  # the folder truth/ apart
    r"deals?|dealt|dealing": "split, assign",
    r"first[ _-]views?": "no TTA",
    r"judge[sd]?|judging|judge?ments?": "evaluate; out-of-fold scores",
    r"oof[ _]dice": "oof_scores",
    r"prove[sdn]?|proving|evidence|trials?": "select by cross-fitting; candidate",
    r"cut at": "threshold",
    r"prices?|priced|pricing": "cost, cost estimate",
    r"anew": "again; force, overwrite",
    r"crews?|hires?|hired|dismiss(?:es|ed)?": "worker pool, start, stop",
    r"makers?": "ensemble member, prediction job",
    r"find[ _]holder": "find_lock_owner",
    r"exhaustion": "out of memory",
    r"spread[ _]devices|count[ _]spread|check[ _]spread": "data-parallel",
    r"unfold(?:s|ed|ing)?|folding": "space-to-depth; batch-norm fusion",
    r"coverages?": "soft target",
    r"nobody[ _]label+ed": "ignored pixels",
    r"slopes|bends": "gradient, Hessian",
    r"doubts?|doubtful": "question, warning",
    r"newcomers?": "scaffold",
    r"take[ _]stock": "find what is missing",
    r"catalogs?|survey": "manifest",
}
UPPER_CASE = {r"VOID": "IGNORE", r"SPREAD": "data_parallel", r"ANEW": "force"}
IN_PROSE = {r"photos?": "image"}  # names of variables may be older than this word
# Statistics speaks of the coverage of an interval.
ALLOWED = {("src/unets/metrics/intervals.py", "soft target")}

PACKAGES = sorted(path for path in (ROOT / "src" / "unets").iterdir() if path.suffix == ".py" or path.is_dir())
PLACES = [path for path in PACKAGES if path.name != "__pycache__"] + [
    ROOT / "scripts",
    ROOT / "README.md",
    ROOT / "docs",
]
TEXTS = {".py", ".md", ".html", ".j2", ".js", ".css"}


def compile_words(words: dict[str, str], flags: int = 0) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", flags), instead) for word, instead in words.items()]


ANYWHERE = compile_words(REPLACED, re.IGNORECASE) + compile_words(UPPER_CASE)
PROSE = compile_words(IN_PROSE, re.IGNORECASE)


def list_texts(place: Path) -> Iterator[Path]:
    paths = [place] if place.is_file() else sorted(place.rglob("*"))
    for path in paths:
        if path.suffix in TEXTS and "__pycache__" not in path.parts and ROOT / "docs" / "log" not in path.parents:
            yield path


def find_words(text: str, name: str, *, is_prose: bool) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", line)  # CamelCase is several words
        for pattern, instead in ANYWHERE + (PROSE if is_prose else []):
            if (name, instead) not in ALLOWED and (hit := pattern.search(words)):
                found.append(f"{name}:{number}: {hit[0]!r} is said as {instead!r}")
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.name)
def test_replaced_words_do_not_come_back(place: Path) -> None:
    found = []
    for path in list_texts(place):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        found += find_words(text, name, is_prose=path.suffix == ".md")
    assert not found, "\n".join(found[:40]) + f"\n{len(found)} in all"
