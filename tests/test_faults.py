"""The tables of faults name tests that exist; no cell is empty."""

import re

from tests import ROOT


def test_each_cell_of_the_table_of_faults_is_held_by_tests() -> None:
    text = (ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8")
    _, _, *rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    cells = [cell.strip() for row in rows for cell in row[1:]]
    assert all(cell == "–" or re.fullmatch(r"`test_\w+`(, `test_\w+`)*", cell) for cell in cells)  # noqa: RUF001
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    found_inside = (ROOT / "docs" / "log" / "faults.md").read_text(encoding="utf-8")
    assert set(re.findall(r"test_\w+", " ".join(cells) + found_inside)) <= defined
