import pytest

from unets.pages.page import drop_empty, mark_code, render_page
from unets.tables import Table


def test_sentences_are_escaped_and_commands_are_code() -> None:
    assert mark_code("it is <b>: run `make a<b`") == "It is &lt;b&gt;: run <code>make a&lt;b</code>"
    assert mark_code("`unet` is left out") == "<code>unet</code> is left out"


def test_empty_columns_are_left_out() -> None:
    table = Table(header=("", "a", "b"), rows=(("", "1", ""), ("", "2", "")), right=frozenset("a"))
    assert drop_empty(table) == Table(header=("", "a"), rows=(("", "1"), ("", "2")), right=frozenset("a"))


def test_data_cannot_end_its_element_and_holds_no_nan() -> None:
    values = {
        "title": "t",
        "epoch": 1,
        "num_epochs": 2,
        "is_finished": True,
        "reload_seconds": 1,
        "best_dice": None,
        "best_epoch": 0,
        "seconds": 1.0,
        "seconds_left": 1.0,
        "images_per_second": 1.0,
        "devices": [],
        "panel": None,
    }
    text = render_page("live.html", **values, data={"name": "</script><b>&\u2028"})
    assert '{"name":"\\u003c/script\\u003e\\u003cb\\u003e\\u0026\\u2028"}' in text
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_page("live.html", **values, data={"value": float("nan")})
