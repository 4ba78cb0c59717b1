"""The page of the oddest photos: one HTML file with everything in it, which opens from disk."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

import numpy as np

from unets.data.samples import Sample
from unets.pages.parts import read_part
from unets.pages.screen.oddness import FIGURES, LEAST, MOST, OddPhotos

_SINGLE = (
    "The ensemble has one member, so nothing can disagree with it: the uncertain band, how unsure that member is, "
    "stands in for it."
)
_NO_GROUPS = "Groups have fewer than three photos here, so no area is compared with its group."


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A photo that is shown."""

    index: int  # among all
    jpeg: bytes


def render_page(
    origin: Mapping[str, str],
    samples: Sequence[Sample],
    odd: OddPhotos,
    pictures: Sequence[Picture],
    train_shares: Sequence[float],
) -> str:
    """Renders the page.

    Args:
        origin: `competition`, `members`, `threshold`, `date` and `commit`.
        samples: all test photos.
        odd: how odd each is.
        pictures: those shown, the oddest first.
        train_shares: share of the photo that is object, of each training photo.
    """
    notes = [_SINGLE] if "agreement" not in odd.values else []
    notes += [_NO_GROUPS] if "views" not in odd.values else []
    template = Template(read_part("unets.pages.screen", "page.html"))
    return template.substitute(
        {name: escape(text) for name, text in origin.items()},
        house=read_part("unets.pages", "house.css"),
        num_photos=f"{len(samples):,}",
        num_groups=f"{len({sample.group for sample in samples}):,}",
        num_odd=f"{np.count_nonzero(odd.oddness):,}",
        num_shown=f"{len(pictures):,}",
        least=f"{LEAST:g}",
        most=f"{MOST:g}",
        notes="".join(f"<p class=note>{escape(note)}</p>" for note in notes),
        rows="".join(_render_row(name, odd, train_shares) for name in odd.values),
        filters=_render_filters(odd, pictures),
        cards="".join(_render_card(rank, picture, samples, odd) for rank, picture in enumerate(pictures, start=1)),
    )


def format_value(name: str, value: float) -> str:
    """Writes a figure for people."""
    if np.isnan(value):
        return "none"
    if name in ("area", "loose"):
        return f"{100 * value:.3g} %"
    if name == "views":
        percent = round(100 * (2**value - 1))
        return f"{percent:+d} %" if percent else "0 %"
    return {"agreement": f"{value:.4f}", "difference": f"{value:.4f}", "band": f"{value:.1f} px"}.get(
        name, f"{value:.0f}" if name in ("parts", "holes") else f"{value:.1f}"
    )


def _render_row(name: str, odd: OddPhotos, train_shares: Sequence[float]) -> str:
    """Renders a figure's row of the table."""
    figure, spread = FIGURES[name], odd.spread(name)
    meaning = figure.meaning
    if name == "area" and train_shares:
        low, high = format_value(name, min(train_shares)), format_value(name, max(train_shares))
        meaning += f", which have {low} to {high}"
    cells = [format_value(name, value) for value in (spread.low, spread.median, spread.high)]
    count = int(np.count_nonzero(odd.distances[name] >= LEAST))
    figures = "".join(f"<td class=num>{escape(cell)}</td>" for cell in (*cells, f"{count:,}"))
    return f"<tr><th scope=row>{escape(figure.label)}</th><td>{escape(meaning)}</td>{figures}</tr>\n"


def _render_filters(odd: OddPhotos, pictures: Sequence[Picture]) -> str:
    """Renders a button for each figure that makes one of the photos shown odd."""
    reasons = [odd.list_reasons(picture.index) for picture in pictures]
    counts = {name: sum(name in own for own in reasons) for name in odd.values}
    buttons = [("", "all", len(pictures)), *((name, FIGURES[name].label, count) for name, count in counts.items())]
    return "".join(
        f'<button type="button" data-filter="{name}" aria-pressed="{"false" if name else "true"}">'
        f"{escape(label)} <span>{count}</span></button>"
        for name, label, count in buttons
        if count
    )


def _render_card(rank: int, picture: Picture, samples: Sequence[Sample], odd: OddPhotos) -> str:
    sample, index = samples[picture.index], picture.index
    reasons = odd.list_reasons(index)
    items = "".join(_render_reason(name, index, odd) for name in reasons)
    items = items or "<li class=none>no figure lies far from the usual</li>"
    group = f"group {sample.group}" + (f", view {sample.view}" if sample.view else "")
    subtitle = "" if sample.group == sample.id else f"<span class=group>{escape(group)}</span>"
    return (
        f'<li class=card tabindex=0 data-id="{escape(sample.id)}" data-reasons="{" ".join(reasons)}">'
        f'<img alt="{escape(sample.id)} with the contours of its mask" loading=lazy '
        f'src="data:image/jpeg;base64,{b64encode(picture.jpeg).decode()}">'
        f"<div class=text><h2><span class=rank>{rank}</span> {escape(sample.id)}"
        f"<span class=score>{odd.oddness[index]:.1f}</span></h2>{subtitle}<ul class=reasons>{items}</ul></div></li>\n"
    )


def _render_reason(name: str, index: int, odd: OddPhotos) -> str:
    """Renders why a photo is odd: the figure, what is usual, and a bar as long as its distance."""
    usual = "" if name == "views" else f"usual {format_value(name, odd.spread(name).median)}"
    share = min(odd.distances[name][index], MOST) / MOST
    return (
        f"<li><span>{escape(FIGURES[name].label)}</span><i style=--share:{share:.2f}></i>"
        f"<b>{escape(format_value(name, odd.values[name][index]))}</b><small>{escape(usual)}</small></li>"
    )
