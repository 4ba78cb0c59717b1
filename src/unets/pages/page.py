"""A page: a Jinja2 template, filled in with values that it escapes, in one HTML file that opens from disk."""

import json
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unets.evaluation.runs import read_history
from unets.evaluation.trackers import PANEL
from unets.log import format_duration, format_number
from unets.store.provenance import format_commit
from unets.store.run_folder import read_metrics, read_snapshot
from unets.store.runs import write_text
from unets.workers.machine import find_free_memory

LIVE = "live.html"
RELOAD_SECONDS = 20
_TEMPLATES = "templates"


def render_page(template: str, **values: Any) -> str:
    """Renders a template of this package, with values by their names; `data` is what the page's script gets, as JSON.

    Raises ValueError where `data` holds a NaN or an infinity, which JSON does not have.
    """
    environment = Environment(
        loader=PackageLoader("unets.pages", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"code": mark_code, "duration": format_duration, "number": format_number}
    environment.filters["pretty"] = partial(json.dumps, indent=2)
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


def write_live(run_dir: Path) -> Path:
    """Writes the live page of a run, `<experiment>/fold<k>`, from the files that training leaves after each epoch.

    It reads `history.csv`, `metrics.json` and `config.json`, and shows `panel/worst.jpg`, a sheet of the worst
    validation images, where that is there; the memory is that of the process that calls it. The page opens from disk
    and reloads itself until the run is finished. Raises InputError where `metrics.json` or `config.json` is missing or
    damaged.
    """
    name = f"{run_dir.parent.name}, fold {run_dir.name.removeprefix('fold')}"
    metrics, config = read_metrics(run_dir), read_snapshot(run_dir)
    page = render_page(
        LIVE,
        title=name,
        metrics=metrics,
        num_epochs=config["training"]["epochs"],
        reload_seconds=RELOAD_SECONDS,
        memory_gb=psutil.Process().memory_info().rss / 1e9,
        free_gb=find_free_memory() / 1e9,
        panel=PANEL if (run_dir / PANEL).exists() else None,
        data={"training": [{"experiment": name, "fold": "", "best": [], **read_history(run_dir)}]},
    )
    write_text(run_dir / LIVE, page)
    return run_dir / LIVE
