import pytest

from unets.pages.page import mark_code, render_page


def test_sentences_are_escaped_and_commands_are_code() -> None:
    assert mark_code("it is <b>: run `make a<b`") == "It is &lt;b&gt;: run <code>make a&lt;b</code>"
    assert mark_code("`unet` is left out") == "<code>unet</code> is left out"


def test_data_cannot_end_its_element_and_holds_no_nan() -> None:
    metrics = {"epochs": 1, "is_finished": True, "seconds": 1.0, "images": 1, "best_epoch": -1, "devices": []}
    values = {"title": "t", "metrics": metrics, "num_epochs": 2, "memory_gb": 1.0, "free_gb": 1.0, "panel": None}
    text = render_page("live.html", **values, data={"name": "</script><b>&\u2028"})
    assert '{"name":"\\u003c/script\\u003e\\u003cb\\u003e\\u0026\\u2028"}' in text
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_page("live.html", **values, data={"value": float("nan")})
