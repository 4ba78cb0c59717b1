"""The parts of a page: texts that lie in the package, tables, and data for a script."""

import json
from html import escape
from importlib.resources import files
from typing import Any

from unets.tables import Table

# Within <script>, these could end it or begin a comment; JSON takes them as escapes just as well. The last two are line
# ends to JavaScript and not to JSON.
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def read_part(package: str, name: str) -> str:
    """Reads a text that lies in a package: a style sheet, a script, a template.

    Args:
        package: `unets.pages` for what all pages share.
        name: of the file.
    """
    return files(package).joinpath(name).read_text(encoding="utf-8")


def embed_json(value: Any) -> str:
    """Writes JSON so that it may stand within <script type="application/json">, whatever its texts hold.

    Raises:
        ValueError: it holds a NaN or an infinity, which JSON does not have.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def render_html_table(table: Table, *, caption: str) -> str:
    """Renders a table; the first cell of each row is its header, the caption is for those who hear the page.

    Columns without any content are left out.
    """
    table = _drop_empty(table)
    classes = [" class=num" if name in table.right else "" for name in table.header]
    head = "".join(
        f"<th scope=col{kind}>{escape(name)}</th>" if name else f"<td{kind}></td>"
        for name, kind in zip(table.header, classes, strict=True)
    )
    rows = "".join(f"<tr>{_render_cells(row, classes)}</tr>\n" for row in table.rows)
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(caption)}"><table>'
        f"<caption class=unseen>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _drop_empty(table: Table) -> Table:
    kept = [column for column in range(len(table.header)) if any(row[column] for row in table.rows) or not column]
    rows = tuple(tuple(row[column] for column in kept) for row in table.rows)
    return Table(header=tuple(table.header[column] for column in kept), rows=rows, right=table.right)


def _render_cells(row: tuple[str, ...], classes: list[str]) -> str:
    first, *others = (escape(cell) for cell in row)
    cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(others, classes[1:], strict=True))
    return f"<th scope=row>{first}</th>{cells}"
