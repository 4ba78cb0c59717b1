import json
import math

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
