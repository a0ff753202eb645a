import json
import os
import struct

import pytest

from galley import inputs, options

CHECKS = {
    "lines": inputs.json_lines(id=str, cases=list),
    "numbers": inputs.csv_table("a", "b", number="b"),
    "tensors": inputs.tensors("q"),
    "parquet": inputs.parquet,
    "text": inputs.text,
    "object": inputs.json_object,
    "record": inputs.json_with("a", others=("b",), kind="ours"),
    "these alone": inputs.csv_table("a", "b", only=True),
}


def whole(tensors=("q",), spare=0):
    head = json.dumps({n: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i, n in enumerate(tensors)}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(len(tensors) + spare)


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("lines", b'{"id": "1", "cases": []}\n' * 3),
        ("lines", b'{"id": "1", "cases": [], "more": 1}'),
        ("numbers", b"a,b\nx,1\ny,-2.5\n"),
        ("numbers", b'a,b\n"x,y",1e-3\n'),
        ("tensors", whole()),
        ("tensors", whole(("p", "q"))),
        ("parquet", b"PAR1....PAR1"),
        ("text", "Zürich".encode()),
        ("object", b"{}"),
        ("record", b'{"a": 1, "kind": "ours", "b": 2}'),
        ("these alone", b"b,a\n1,2\n"),
    ],
)
def test_whole_files_pass(tmp_path, check, data):
    (tmp_path / "f").write_bytes(data)
    CHECKS[check](tmp_path / "f")


@pytest.mark.parametrize(
    ("check", "data", "said"),
    [
        ("lines", b'{"id": "1", "cases": []}\n{"id": "2", "ca', "has in line 2 no JSON"),
        ("lines", b'{"id": "1"}', "has in line 1 no field 'cases' that is a list"),
        ("lines", b'{"id": 1, "cases": []}', "has in line 1 no field 'id' that is a str"),
        ("lines", b"[]", "has in line 1 no JSON object"),
        ("lines", b'{"id": "\xff"}', "has in line 1 no UTF-8 text (byte 8 is 0xff)"),
        ("lines", b"[" * 100_000, "nested too deep"),
        ("lines", b"", "is empty"),
        ("numbers", b"a,c\nx,1\n", "has no column 'b'"),
        ("numbers", b"a,b\nx,44.50x\n", "has in row 2 '44.50x' for a b"),
        ("numbers", b"a,b\nx,nan\n", "has in row 2 'nan' for a b"),
        ("numbers", b"a,b\nx\n", "has in row 2 1 cells and in its head 2"),
        ("numbers", "a,b".encode("utf-16"), "is no UTF-8 text (byte 0 is 0xff, it seems to be UTF-16)"),
        ("tensors", whole()[:-1], "bytes where its head says"),
        ("tensors", whole(spare=3), "bytes where its head says"),
        ("tensors", whole(("p",)), "has no tensor 'q'"),
        ("tensors", whole()[:20], "is no safetensors file, or is cut off"),
        ("tensors", b"1234", "is no safetensors file, or is cut off"),
        ("tensors", struct.pack("<Q", 2) + b"[]", "has a head that is not safetensors'"),
        ("parquet", b"PAR1", "is no parquet file"),
        ("parquet", b"PAR1......", "is no parquet file"),
        ("text", "a".encode("utf-16"), "is no UTF-8 text"),
        ("object", b"[]", "is JSON, but no object"),
        ("record", b'{"a": 1}', "has no 'kind' that is 'ours'"),
        ("record", b'{"a": 1, "kind": "theirs"}', "has no 'kind' that is 'ours'"),
        ("record", b'{"kind": "ours"}', "has no 'a'"),
        ("record", b'{"a": 1, "kind": "ours", "c": 3}', "has 'c'"),
        ("these alone", b"a,b,c\n1,2,3\n", "has a column 'c'"),
    ],
)
def test_a_damaged_file_is_told_by_what_is_wrong(tmp_path, check, data, said):
    (tmp_path / "f").write_bytes(data)
    found = inputs.first_wrong([tmp_path / "f"], [CHECKS[check]])
    if check == "parquet" and data == b"PAR1":
        assert found is None  # four bytes both begin and end so; the reader says the rest
    else:
        assert said in found[1]


def test_of_a_long_file_the_last_line_is_read_too(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "WHOLE_BYTES", 10)
    monkeypatch.setattr(inputs, "FIRST_LINES", 2)
    line = b'{"id": "1", "cases": []}\n'
    (tmp_path / "f").write_bytes(line * 5 + line[:-9])
    with pytest.raises(ValueError, match="the last"):
        CHECKS["lines"](tmp_path / "f")
    (tmp_path / "f").write_bytes(line * 5)
    CHECKS["lines"](tmp_path / "f")


@pytest.mark.parametrize("check", [inputs.file, inputs.text, inputs.json_object, inputs.either, inputs.tensors(), inputs.json_lines()])
def test_a_pipe_is_refused_before_anybody_waits_for_it(tmp_path, check):
    os.mkfifo(tmp_path / "f")
    assert inputs.first_wrong([tmp_path / "f"], [check]) == (tmp_path / "f", "is a pipe, a socket or a device and no file")


def test_one_of_several_checks_is_enough_and_the_last_one_speaks(tmp_path):
    either = inputs.any_of(inputs.holding("a"), inputs.holding("b"))
    assert inputs.first_wrong([tmp_path], [either])[1] == "holds no good b: it is not there"
    (tmp_path / "a").write_text("a")
    either(tmp_path)


@pytest.mark.parametrize(
    ("value", "shown"), [("-3", "-3"), ("word", "'word'"), ("a\nb", "'a\\nb'"), ("\x1b[2J", "'\\x1b[2J'"), (2.5, "2.5")]
)
def test_a_value_never_breaks_the_line(value, shown):
    assert options.shown(value) == shown
