"""A page: a Jinja2 template, filled in with values that it escapes, in one HTML file that opens from disk."""

import json
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unets.log import format_duration
from unets.store.provenance import format_commit

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
    environment.filters |= {"code": mark_code, "duration": format_duration, "pretty": partial(json.dumps, indent=2)}
    environment.globals |= {"format_commit": format_commit, "read_part": _read_part}
    return environment.get_template(template).render(**values)


def mark_code(text: str) -> Markup:
    """Escapes a sentence, sets what stands in backticks as code, and begins it with a capital."""
    first, *others = text.split("`")
    parts = [first[:1].upper() + first[1:], *others]
    wrap = Markup("<code>{}</code>").format
    return Markup("").join(wrap(part) if number % 2 else part for number, part in enumerate(parts))


def _read_part(name: str) -> Markup:
    """Reads the style sheet or the script, which are not templates."""
    text = files("unets.pages").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 our own file
