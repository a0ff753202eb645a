import json

import pytest

from galley.papers.unitcoder.export import prefix_and_body, write_files

CODE = '''import re


def words(text, n=2):
    """Return words."""
    # the first n
    found = re.findall("[a-z]+", text)

    return found[:n]
'''


def test_prefix_and_body_are_the_program():
    prefix, body = prefix_and_body(CODE, "words")
    assert prefix + body == CODE
    assert prefix.endswith('"""Return words."""\n') and body.startswith("    # the first n\n")


@pytest.mark.parametrize(
    ("code", "name"), [("def f(x): return x\n", "f"), ("def f(x):\n    'only'\n", "f"), ("x = 1\n", "f"), ("def f(:", "f")]
)
def test_what_cannot_be_cut_is_left_out(code, name):
    assert prefix_and_body(code, name) is None


def test_without_a_docstring_the_signature_ends_the_prefix():
    code = "def f(\n    x,\n):\n    return x\n\n\ny = 1\n"
    assert prefix_and_body(code, "f") == ("def f(\n    x,\n):\n", "    return x\n")


def test_files_take_what_they_should(tmp_path):
    base = {"entry_point": "words", "code": CODE, "writer": "w", "refinement": None, "refined": False, "provenance": ""}
    rows = [
        {**base, "id": "a", "status": "passed", "provenance": "first_pass", "refined": True, "refinement": CODE.replace("found", "some")},
        {**base, "id": "b", "status": "passed", "provenance": "debugged"},
        {**base, "id": "c", "status": "failed"},
        {**base, "id": "d", "status": "error"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_files(path, tmp_path) == {"passed": 2, "failed": 1, "error": 1, "polished": 1, "sft": 2}
    pairs = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert [p["provenance"] for p in pairs] == ["first_pass+refined", "debugged"] and "some" in pairs[0]["answer"]
