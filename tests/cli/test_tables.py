from unets.tables import Table, render_table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [["a", "1.5", "x y"], ["long name", "100.25", ""]]
    # name: 9 wide, left; value: 6 wide, right; no spaces at a line's end
    expected = ["name        value  words", "a             1.5  x y", "long name  100.25"]
    assert render_table(["name", "value", "words"], rows, right={"value"}).split("\n") == expected


def test_a_table_without_rows_is_its_header() -> None:
    assert render_table(["a", "b"], []) == "a  b"


def test_a_table_for_a_page() -> None:
    table = Table(header=("a|b", "n"), rows=(("x", "1"),), right=frozenset({"n"}))
    assert table.to_markdown() == "| a\\|b | n |\n| --- | ---: |\n| x | 1 |\n"
