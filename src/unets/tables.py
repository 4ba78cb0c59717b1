"""Tables for people: columns that stand below each other in a terminal."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import fill, wrap

_GAP = "  "


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Cells that are not laid out yet."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()  # columns that hold figures, and end at their right
    once: frozenset[str] = frozenset()  # columns that are said once below, where every row says the same

    def __str__(self) -> str:
        """Lays it out for a terminal."""
        table, said = self.shorten()
        return "\n".join([render_table(table.header, table.rows, right=table.right), *([said] if said else [])])

    def shorten(self) -> tuple["Table", str]:
        """Returns the table without its empty columns and those said once, and the words that say these.

        The first column stays.
        """
        kept, said = [0], []
        for column in range(1, len(self.header)):
            name, cells = self.header[column], {row[column] for row in self.rows}
            if len(cells) == 1 and name in self.once and cells != {""}:
                said.append(f"{name}: {cells.pop()}")
            elif cells != {""}:
                kept.append(column)
        header, *rows = (tuple(line[column] for column in kept) for line in (self.header, *self.rows))
        return Table(header=header, rows=tuple(rows), right=self.right), "; ".join(said)

    def to_markdown(self) -> str:
        """Lays it out for a page that is rendered from Markdown."""
        rules = ["---:" if name in self.right else "---" for name in self.header]
        lines = [self.header, rules, *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def render_notes(notes: Iterable[str]) -> str:
    """Lays notes out for a terminal, one below the other."""
    width = get_terminal_size().columns
    return "\n".join(fill(f"note: {note}", width, subsequent_indent="      ") for note in notes)


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """Lays cells out in columns, with a rule below their names; a row has several lines where one is too long.

    Columns of figures, which are named in `right`, end at their right; the others begin at their left. In a table wider
    than the terminal (80 columns where there is none) cells of the widest columns are wrapped, if they can between
    words.
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns]
    for _ in range(sum(widths) + len(_GAP) * (len(widths) - 1) - get_terminal_size().columns):
        loose = [index for index, width in enumerate(widths) if width > words[index]] or range(len(widths))
        widest = max(loose, key=widths.__getitem__)
        widths[widest] = max(widths[widest] - 1, 1)
    cells = [[wrap(cell, widths[k]) or [""] for cell in column] for k, column in enumerate(columns)]
    lines = [line for row in zip(*cells, strict=True) for line in zip_longest(*row, fillvalue="")]
    rule = max(map(len, (column[0] for column in cells)))  # lines of the header
    lines.insert(rule, tuple("-" * width for width in widths))
    fits = [str.rjust if name in right else str.ljust for name in header]
    return "\n".join(
        _GAP.join(fit(cell, width) for fit, cell, width in zip(fits, line, widths, strict=True)).rstrip()
        for line in lines
    )
