"""A page: a Jinja2 template, filled in with values that it escapes, in one HTML file that opens from disk."""

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unets.log import format_duration
from unets.store.provenance import format_commit
from unets.tables import Table

_TEMPLATES = "templates"


def render_page(template: str, **values: Any) -> str:
    """Renders a template of this package.

    Args:
        template: `gallery.html` or `live.html`.
        **values: by their names in the template; `data` is what the page's script gets, as JSON.

    Raises:
        ValueError: `data` holds a NaN or an infinity, which JSON does not have.
    """
    environment = Environment(
        loader=PackageLoader("unets.pages", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"code": mark_code, "duration": format_duration, "pretty": _write_json, "filled": drop_empty}
    environment.globals["format_commit"] = format_commit
    environment.globals["read_part"] = _read_part
    return environment.get_template(template).render(**values)


def mark_code(text: str) -> Markup:
    """Escapes a sentence, sets what stands in backticks as code, and begins it with a capital."""
    first, *others = text.split("`")
    parts = [first[:1].upper() + first[1:], *others]
    wrap = Markup("<code>{}</code>").format
    return Markup("").join(wrap(part) if number % 2 else part for number, part in enumerate(parts))


def drop_empty(table: Table) -> Table:
    """Returns a table without the columns that have no content; the first one stays."""
    kept = [column for column in range(len(table.header)) if not column or any(row[column] for row in table.rows)]
    return Table(
        header=tuple(table.header[column] for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in table.rows),
        right=table.right,
    )


def _read_part(name: str) -> Markup:
    """Reads the style sheet or the script, which are not templates."""
    text = files("unets.pages").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 our own file


def _write_json(value: Any) -> str:
    return json.dumps(value, indent=2)
