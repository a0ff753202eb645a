"""Text from outside is harmless, lines fit the screen, spans read well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_logger_plugin_galley.words import about, clean, clock, fit, job_name, one_line


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jc1", "c1"),
        ("a\x08b\x00c\x7fd", "abcd"),
        ("a\rb", "ab"),
        ("\u202eevil\u2066", "evil"),
        ("tab\tand\nline stay", "tab\tand\nline stay"),
        ("half \x1b[", "half "),
    ],
)
def test_control_sequences_go(raw, shown):
    assert clean(raw) == shown


@given(st.text(alphabet=st.sampled_from("\x1b[]0;2JmH\x07\x9b\x9d\\ab\r\n\u202e")))
def test_nothing_that_is_left_controls_a_terminal(raw):
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c == "\u202e" for c in clean(raw))
    assert "\n" not in one_line(raw)


def test_lines_are_cut_to_the_columns():
    assert fit("short", 10) == "short" and fit("exactly ten", 11) == "exactly ten"
    assert fit("rather longer than that", 10) == "rather ..."
    assert fit("漢字漢字漢字", 12) == "漢字漢字漢字" and len(fit("漢字漢字漢字", 8)) < 6
    assert fit("", 5) == ""


def test_spans():
    assert [clock(s) for s in (-3, 0.9, 41, 200, 3900)] == ["0:00", "0:00", "0:41", "3:20", "1:05:00"]
    assert [about(s) for s in (1, 44, 56, 250, 12000)] == ["10 s", "40 s", "1 min", "4 min", "3 h 20 min"]


def test_a_job_s_name_is_its_rule_and_wildcards_without_the_scale():
    assert job_name("arms", {"scale": "smoke", "model": "a\x1b[2Jb", "shard": "0"}) == "arms model=ab shard=0"
