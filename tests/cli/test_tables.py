from unets.tables import Table, render_table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [["a", "1.5", "x y"], ["long name", "100.25", ""]]
    # name: 9 wide, left; value: 6 wide, right; no spaces at a line's end
    expected = ["name        value  words", "---------  ------  -----", "a             1.5  x y", "long name  100.25"]
    assert render_table(["name", "value", "words"], rows, right={"value"}).split("\n") == expected
    assert render_table(["a", "b"], []) == "a  b\n-  -"


def test_what_is_the_same_everywhere_is_said_once_and_what_is_empty_not_at_all() -> None:
    rows = (("x", "", "one", "1"), ("y", "", "one", "1"))
    table = Table(header=("", "a", "device", "n"), rows=rows, right=frozenset("n"), once=frozenset({"device"}))
    assert str(table) == "   n\n-  -\nx  1\ny  1\ndevice: one"
    other = Table(header=table.header, rows=(*rows, ("z", "", "two", "1")), once=table.once)
    assert other.shorten() == (
        Table(header=("", "device", "n"), rows=(("x", "one", "1"), ("y", "one", "1"), ("z", "two", "1"))),
        "",
    )


def test_a_table_for_a_page() -> None:
    table = Table(header=("a|b", "n"), rows=(("x", "1"),), right=frozenset({"n"}))
    assert table.to_markdown() == "| a\\|b | n |\n| --- | ---: |\n| x | 1 |\n"
