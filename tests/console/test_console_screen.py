"""The footer is drawn in place on a terminal and nowhere else."""

import io

import pytest

from snakemake_logger_plugin_galley.screen import Screen


class Terminal(io.StringIO):
    def isatty(self):
        return not self.closed or super().isatty()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_a_footer_is_taken_away_before_the_next_line(terminal):
    screen = Screen(terminal, colour=False)
    screen.write(["one"], ["a", "b"])
    screen.write(["two"], ["c"])
    screen.write([])
    assert terminal.getvalue() == "one\na\nb\n\x1b[2A\r\x1b[Jtwo\nc\n\x1b[1A\r\x1b[J"


def test_a_footer_s_lines_never_wrap(terminal):
    Screen(terminal, colour=False).write([], ["x" * 50])
    assert terminal.getvalue() == "x" * 16 + "...\n"


def test_colours_only_where_they_are_wanted(terminal, monkeypatch):
    assert Screen(terminal, colour=True).paint("x", "bad") == "\x1b[31mx\x1b[0m"
    assert Screen(terminal, colour=False).paint("x", "bad") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(terminal, colour=True).paint("x", "bad") == "x"


@pytest.mark.parametrize("term", ["dumb", None])
def test_no_terminal_has_no_footer(monkeypatch, term):
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    for stream in (io.StringIO(), Terminal()):
        screen = Screen(stream, colour=True)
        screen.write(["one"], ["a"])
        assert stream.getvalue() == "one\n" and not screen.live


def test_a_reader_that_left_is_no_fault(terminal):
    screen = Screen(terminal, colour=False)
    terminal.close()
    screen.write(["one"])
    assert not Screen(terminal, colour=False).live
