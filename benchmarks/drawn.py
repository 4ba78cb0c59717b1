"""Reads drawn data sets as `unets new` and `unets data --dump` do, and says of each: right, refused, or what differs.

Run: python benchmarks/drawn.py FOLDER JUDGE [NAME ...] > table.md

FOLDER holds a folder a data set, and beside each its ground truth, <name>.npz. JUDGE is a program that takes a dump and
a ground truth, and prints `right` or what differs.
"""

import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from unets.dataset.dump import write_dump
from unets.dataset.manifest import read_manifest
from unets.dataset.scaffold import write_scaffold
from unets.errors import InputError
from unets.store.paths import Project


def try_set(input_dir: Path, judge: Path) -> tuple[str, str]:
    """Returns (right, asked, refused or wrong; what was said)."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project.below(Path(folder), "mine", input_dir=input_dir)
        try:
            scaffold = write_scaffold(project)
            write_dump(project, read_manifest(project, scaffold.dataset), Path(folder) / "dump")
        except InputError as error:
            return "refused", str(error).replace(f"{input_dir}/", "").split("\n")[0]
        words: list[str | Path] = [sys.executable, judge, Path(folder) / "dump", input_dir.with_suffix(".npz")]
        said = subprocess.run(words, capture_output=True, text=True, check=False)
    questions = "; ".join(question.text for question in scaffold.questions)
    if said.returncode:
        return "wrong", said.stdout.strip() + said.stderr[-200:] + (f" (asked: {questions})" if questions else "")
    return ("right, asked" if questions else "right"), questions


def main() -> None:
    """Prints a table."""
    folder, judge, *names = sys.argv[1:]
    logging.disable(logging.INFO)
    counts: Counter[str] = Counter()
    print("| data set | outcome | seconds | what was asked or said |\n|---|---|---|---|")
    for path in sorted(Path(folder).glob("*.npz")):
        if names and path.stem not in names:
            continue
        start = time.perf_counter()
        outcome, text = try_set(path.with_suffix(""), Path(judge))
        counts[outcome] += 1
        shown = text.replace("|", "/") if len(text) < 400 else text[:397].replace("|", "/") + "..."
        print(f"| {path.stem} | {outcome} | {time.perf_counter() - start:.1f} | {shown} |", flush=True)
    print("\n" + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))


if __name__ == "__main__":
    main()
