"""Tables: drawn on a terminal, aligned text elsewhere, for any content of their cells."""

import io
from contextlib import redirect_stdout

import pytest

from cli.printing.columns import aligned, print_lines, print_table

LINES = [["node", "busy", "offloads to"], ["near-1", "9 %", "[bold]"], ["a", "100 %", "b 1.5 %"]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """A function that calls another one and returns its output on a terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def on_a_terminal(function, *arguments, **options):
        with redirect_stdout(Terminal()) as stream:
            function(*arguments, **options)
        return stream.getvalue()

    return on_a_terminal


def test_columns_are_as_wide_as_their_widest_cell():
    assert aligned(LINES, left=(0, 2)) == [
        "node     busy  offloads to",
        "near-1    9 %  [bold]",
        "a       100 %  b 1.5 %",
    ]
    assert aligned(LINES)[1] == "near-1    9 %       [bold]"


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        aligned([["a", "b"], ["c"]])


def test_a_table_elsewhere_is_text_with_an_empty_line_after_it(capsys):
    print_table(LINES, title="plan", left=(0, 2))
    assert capsys.readouterr().out.splitlines() == ["plan", *aligned(LINES, left=(0, 2)), ""]


def test_a_table_on_a_terminal_is_drawn_and_no_cell_is_taken_for_markup(shown):
    text = shown(print_table, LINES, title="plan", left=(0, 2))
    assert "───" in text
    assert "[bold]" in text


def test_what_does_not_fit_is_folded_and_not_cut_off(shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    servers = [f"server-{number}" for number in range(9)]
    text = shown(print_table, [["node", "offloads to"], ["near-1", ", ".join(servers)]], left=(0, 1))
    assert [server for server in servers if server not in text] == []
    assert "…" not in text


def test_labels_are_bold_only_where_colour_is_wanted(shown, monkeypatch):
    lines = [("Run", "small"), ("", "more")]
    assert shown(print_lines, lines).startswith("\x1b[1mRun        \x1b[0msmall\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(print_lines, lines) == "Run        small\n           more\n"
