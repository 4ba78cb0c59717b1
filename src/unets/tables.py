"""Tables for people: columns that stand below each other in a terminal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
        header = tuple(self.header[column] for column in kept)
        rows = tuple(tuple(row[column] for column in kept) for row in self.rows)
        return Table(header=header, rows=rows, right=self.right), "; ".join(said)

    def to_markdown(self) -> str:
        """Lays it out for a page that is rendered from Markdown."""
        rules = ["---:" if name in self.right else "---" for name in self.header]
        lines = [self.header, rules, *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """Lays cells out in columns, each as wide as its widest cell, with a rule below its name; one line a row.

    Columns of figures, which are named in `right`, end at their right; the others begin at their left.
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    justify = [str.rjust if name in right else str.ljust for name in header]
    lines.insert(1, ["-" * width for width in widths])
    columns = [[fit(line[k], widths[k]) for line in lines] for k, fit in enumerate(justify)]
    return "\n".join(_GAP.join(cells).rstrip() for cells in zip(*columns, strict=True))
