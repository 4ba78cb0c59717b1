import json
import math
import re

import pytest

from unets.pages.parts import embed_json, read_part, render_html_table
from unets.tables import Table


@pytest.mark.parametrize("text", ["</script>", "<!--", "a&amp;b", 'quote " \\', "line\u2028and\u2029line", "Zürich 車"])
def test_data_in_a_script_cannot_end_it_and_comes_back(text: str) -> None:
    written = embed_json({text: [text, 1.5, None]})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {text: [text, 1.5, None]}


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embed_json([math.nan])


def test_a_table_escapes_names_and_leaves_empty_columns_out() -> None:
    table = Table(header=("<a>", "empty", "n"), rows=(("<b>", "", "1"), ("c", "", "")), right=frozenset({"n"}))
    html = render_html_table(table, caption='a "table"')
    assert "<a>" not in html and "<b>" not in html and 'aria-label="a &quot;table&quot;"' in html
    assert "empty" not in html
    assert html.count("<th scope=row>") == 2 and html.count("<td class=num>") == 2
    assert "<th scope=col class=num>n</th>" in html


def test_a_table_of_no_rows_keeps_its_first_column() -> None:
    assert "<th scope=col>a</th>" in render_html_table(Table(header=("a", "b"), rows=()), caption="t")


def test_the_house_style_serves_both_themes() -> None:
    style = read_part("unets.pages", "house.css")
    colours = [line for line in style.split(";") if line.strip().startswith("--")]
    assert len(colours) >= 8 and all("light-dark(" in colour for colour in colours)


def measure_contrast(first: str, second: str) -> float:
    """The ratio of two colours' luminances, 1 to 21 (WCAG 2.2)."""

    def measure_luminance(colour: str) -> float:
        levels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(measure_luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_read_stands_out_from_what_it_stands_on(theme: str) -> None:
    style = read_part("unets.pages", "house.css") + read_part("unets.pages.report", "page.css")
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: light if theme == "light" else dark for name, light, dark in found}
    assert measure_contrast("#000000", "#ffffff") == pytest.approx(21)
    for ground in ("back", "card"):
        for text in ("text", "soft", "accent"):
            assert measure_contrast(colours[text], colours[ground]) >= 4.5, f"{text} on {ground}"
        for mark in ("bar", "focus", *(f"s{number}" for number in range(6))):
            assert measure_contrast(colours[mark], colours[ground]) >= 3, f"{mark} on {ground}"
