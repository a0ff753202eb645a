"""YAML that people write by hand: every file of the project is read by one reader, and a fault names file and line in one line."""

import ast
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from galley.artifact import GalleyError
from galley.core_yaml import STEERS, dumped
from galley.data.hub import read_hub_data
from galley.data.revisions import read_pins
from galley.data.sources import load_sources
from galley.declared import Document, checked, read_yaml
from galley.plan import read_plan_of
from galley.recipe import WHOLE, Name, Strict, Text
from galley.tables.claims import load_claims
from galley.tables.figures import load_figures
from galley.tables.metrics import load_metrics

ROOT = Path(__file__).parents[1]


def read(path, **more):
    return read_yaml(path, what="recipe", home="recipes/<name>/recipe.yaml", **more)


def refused(call, *arguments):
    with pytest.raises(GalleyError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


BROKEN = {
    "seeds: 1\nshards: 2\nseeds: 3\n": "a.yaml:3: the key 'seeds' is also in line 1; keep one of them",
    "a:\n  - {b: 1, c: 2, b: 3}\n": "a.yaml:2: the key 'b' is also in line 2",
    "a: {x: 1,\n  'x': 2}\n": "a.yaml:2: the key 'x' is also in line 1",
    "1: a\n0x1: b\n": "a.yaml:2: the key 1 is also in line 1",
    "TRUE: a\ntrue: b\n": "a.yaml:2: the key True is also in line 1",
    "a: &a {x: 1}\nb:\n  <<: [*a, {y: 1,\n    x: 2}]\n": "a.yaml:3: the key 'x' is in lines 1 and 4 of what is merged; keep one of them",
    "<<: [{a: 1}, {a: 2}]\n": "a.yaml:1: the key 'a' is in two parts of what is merged",
    "<<: [{a: 1}, {<<: {a: 2}}]\n": "a.yaml:1: the key 'a' is in two parts of what is merged",
    "base: &b {x: 1}\na: {<<: [*b, *b]}\n": "a.yaml:2: the key 'x' is in two parts of what is merged",
    "a: &a\n  <<: *a\n": "a.yaml:1: a part of the file is inside itself",
    "base: &b {x: 1, y: 2}\na:\n  <<: *b\n  x: 3\n  <<: *b\n": "a.yaml:5: the key '<<' is also in line 3",
    "a: [\n": "a.yaml:2: not valid YAML: while parsing a flow node",
    "a: b: c\n": "a.yaml:1: not valid YAML: mapping values are not allowed here",
    "\ta: 1\n": "a.yaml:1: not valid YAML",
    "a: !!int foo\n": "none of its kind ('foo' is no int)",
    "a: !!int '0b11'\n": "none of its kind ('0b11' is no int)",
    "a: !!bool yes\n": "none of its kind ('yes' is no bool)",
    "a: !!timestamp 2026-11-30\n": "a.yaml:1: not valid YAML: could not determine a constructor",
    f"a: {'9' * 5000}\n": "none of its kind (Exceeds the limit",
    "a:\n  b: [1, yes]\n": "a.yaml:2: a.b.1 is yes, which YAML 1.1 and 1.2 read differently; write true or false, or put it in quotes",
    "a:\n  on: 1\n": "a.yaml:2: a: a key is on, which YAML 1.1 and 1.2 read differently",
    "a: 1:30\n": "a.yaml:1: a is 1:30, which YAML 1.1 and 1.2 read differently; write it in plain digits, or put it in quotes",
    'a: {b: "x\\e[2Jy"}\n': "a.yaml:1: a.b is 'x\\x1b[2Jy', with the control character U+001B; take it out",
    "a: x\u202ey\n": "a.yaml:1: a is 'x\\u202ey', with the control character U+202E",
    'a:\n  "k\\tl": 1\n': "a.yaml:2: a: a key is 'k\\tl', with the control character U+0009",
    "a: !!python/object/apply:os.system [x]\n": "a.yaml:1: not valid YAML: could not determine a constructor",
    "? [a, b]\n: 1\n": "a.yaml:1: not valid YAML",
    "a: *nowhere\n": "undefined alias",
    "a: &x [1, *x]\n": "a.yaml:1: a part of the file is inside itself",
    "--- {a: 1}\n--- {b: 2}\n": "another document",
    "a: \x01\n": "character 3 is '\\x01', which no text has",
    "[" * 600: "nested too deep",
    "- a\n": "expected a mapping (key: value) at the top of the file, found a list",
    "word\n": "found text",
    "7\n": "found a int",
    "": "found nothing",
    "# only a comment\n": "found nothing",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: repr(text[:20]))
def test_what_is_no_mapping_of_single_keys_is_refused_by_file_and_line(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    assert BROKEN[text] in refused(read, tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("seeds: 1\n".encode("utf-16"), "byte 0 is 0xff, it seems to be UTF-16); save it as UTF-8"),
        (b"title: caf\xe9\n", "no UTF-8 text (byte 10 is 0xe9); save it as UTF-8"),
        (bytes(range(256)), "a.yaml"),
        (b"\x00" * 100, "a.yaml: not valid YAML: character 0"),
    ],
)
def test_what_is_no_text_is_refused(raw, words, tmp_path):
    (tmp_path / "a.yaml").write_bytes(raw)
    assert words in refused(read, tmp_path / "a.yaml")


def test_a_missing_file_a_folder_and_a_closed_one_say_what_should_be_there(tmp_path):
    assert "no recipe at" in refused(read, tmp_path / "gone.yaml")
    assert "in the project's folder it is recipes/<name>/recipe.yaml" in refused(read, tmp_path / "gone.yaml")
    assert "recipe cannot be read (Is a directory)" in refused(read, tmp_path)
    (tmp_path / "file").write_text("a: 1")
    assert "cannot be read" in refused(read, tmp_path / "file/a.yaml")


def test_a_file_is_read_anew_when_it_changes_and_what_is_handed_out_is_the_reader_s_own(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: {b: [1]}\n")
    read(path).data["a"]["b"].append(2)
    assert read(path).data == {"a": {"b": [1]}}
    path.write_text("a: {b: [3]}\n")
    assert read(path).data == {"a": {"b": [3]}}
    (tmp_path / "b.yaml").write_text("a: [\n")
    for _ in range(2):
        assert "b.yaml:2: not valid YAML" in refused(read, tmp_path / "b.yaml")


def test_merges_anchors_and_a_mark_of_utf_8_are_yaml_still(tmp_path):
    (tmp_path / "a.yaml").write_text("base: &b {x: 1, y: 2}\na: {<<: *b, x: 3}\nb: [*b, *b]\n", encoding="utf-8-sig")
    assert read(tmp_path / "a.yaml").data["a"] == {"x": 3, "y": 2}
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert read(tmp_path / "a.yaml", empty=True).data == {}


class Part(BaseModel, extra="forbid"):
    """A part of a test's file."""

    number: int


class Typed(Strict):
    """A part of a test's file with a field of each type."""

    whole: int = 1
    real: float = 1.0
    flag: bool = False
    text: Text = "x"
    name: Name = "x"
    half: Annotated[Literal[2, 4], WHOLE] = 2


WRONG_TYPES = {
    "whole: '3'": "whole: Input should be a valid integer (got '3'); write a whole number in digits, without quotes",
    "whole: 3.0": "whole: Input should be a valid integer (got 3.0)",
    "whole: true": "whole: Input should be a valid integer (got True)",
    "whole: 2026-11-30": "whole: Input should be a valid integer (got '2026-11-30')",
    "real: '0.5'": "real: Input should be a valid number (got '0.5'); write a number in digits, without quotes",
    "real: true": "real: Input should be a valid number (got True)",
    "real: .nan": "real: Input should be a finite number",
    "real: 1e999": "real: Input should be a finite number",
    "flag: 1": "flag: Input should be a valid boolean (got 1); write true or false, without quotes",
    "flag: 'yes'": "flag: Input should be a valid boolean (got 'yes')",
    "text: 1.10": "text: Input should be a valid string (got 1.1); write a text; what looks like a number or a boolean is one in quotes",
    "text:": "text: Input should be a valid string (got None); write a text",
    "text: ' '": "text: is blank; write a text (got ' ')",
    "text: ''": "text: is blank; write a text (got '')",
    "name: >\n  a": "name: should be one line, without spaces at its ends",
    "name: 'a '": "name: should be one line",
    "half: '2'": "half: Input should be 2 or 4 (got '2')",
    "half: 2.0": "half: Value error, one of several whole numbers is written without a point (got 2.0)",
}


@pytest.mark.parametrize("text", WRONG_TYPES)
def test_a_value_is_of_its_field_s_own_type(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text + "\n")
    assert f"a.yaml:1: {WRONG_TYPES[text]}" in refused(checked, Typed, read(tmp_path / "a.yaml"))


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    (tmp_path / "a.yaml").write_text("whole: 0x1F\nreal: 1e-5\nflag: True\ntext: |\n  two\n  \tlines\nname: 2026-11-30\nhalf: +4\n")
    made = checked(Typed, read(tmp_path / "a.yaml"))
    assert made == Typed(whole=31, real=1e-5, flag=True, text="two\n\tlines\n", name="2026-11-30", half=4)
    assert checked(Typed, Document(tmp_path, None, {"real": 3})).real == 3.0, "a whole number is a number"


def test_a_fault_of_the_model_names_line_field_value_and_known_keys(tmp_path):
    path = tmp_path / "a.yaml"
    for text, words in {
        "a: {number: 1}\nb:\n  number: x\n": "a.yaml:3: b.number: Input should be a valid integer",
        "a:\n  nmber: 1\n  number: 2\n": "a.yaml:2: a.nmber: Extra inputs are not permitted (got 1); known keys: number",
        "a: {}\n": "a.yaml:1: a.number: Field required",
        "a: {number: x}\nb: {number: y}\n": "(1 of 2 faults)",
        "base: &b {number: 1}\na:\n  <<: *b\n  number: x\n": "a.yaml:4: a.number: Input should",
    }.items():
        path.write_text(text)
        assert words in refused(checked, dict[str, Part], read(path))


# Each file of the project that is YAML, and who reads it.
READERS = {
    "recipe.yaml": lambda folder: read_plan_of("mha2mla", "smoke", folder=folder.parent),
    "claims.yaml": lambda folder: load_claims(folder / "claims.yaml"),
    "figures.yaml": lambda folder: load_figures(folder / "figures.yaml"),
    "../metrics.yaml": lambda folder: load_metrics(folder.parent / "metrics.yaml"),
    "../sources.yaml": lambda folder: load_sources(folder.parent / "sources.yaml"),
    "../revisions.yaml": lambda folder: read_pins(folder.parent),
    "../datasets.yaml": lambda folder: read_hub_data(folder.parent),
}
DAMAGE = {
    "a key twice": (
        lambda raw: raw + b"\n" + re.search(rb"^[^#\s:]+:", raw, re.MULTILINE)[0] + b" 1\n",
        r":\d+: the key '.*' is also in line \d",
    ),
    "UTF-16": (lambda raw: raw.decode().encode("utf-16"), "UTF-16"),
    "a list": (lambda raw: b"[]", "found a list"),
    "cut off": (lambda raw: raw[: len(raw) // 2] + b"\n  x: [", "not valid YAML|:[0-9]+: "),
    "random bytes": (lambda raw: bytes((n * 37 + 11) % 256 for n in range(999)), "UTF-8|YAML"),
    "a folder": (None, "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_every_yaml_of_the_project_is_read_by_one_reader(name, damage, tmp_path):
    folder = tmp_path / "recipes/mha2mla"
    folder.mkdir(parents=True)
    for one in READERS:
        (folder / one).write_bytes((ROOT / "recipes/mha2mla" / one).read_bytes())
    READERS[name](folder)  # whole, it is read
    change, words = DAMAGE[damage]
    raw = (folder / one).read_bytes() if one == name else (folder / name).read_bytes()
    (folder / name).unlink()
    if change is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(change(raw))
    with pytest.raises(GalleyError, match=rf"{Path(name).name}.*({words})") as error:
        READERS[name](folder)
    assert "\n" not in str(error.value)


def test_nothing_else_in_the_code_reads_yaml():
    """`yaml.safe_load` elsewhere would let a key twice through."""
    for path in [path for path in (ROOT / "src").rglob("*.py") if "yaml." in path.read_text()]:
        calls = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
                 and isinstance(node.value, ast.Name) and node.value.id == "yaml"}  # fmt: skip
        assert "safe_dump" not in calls, f"{path}: core_yaml.dumped writes what is read as it was"
        readers = calls & {"safe_load", "load", "full_load", "compose", "SafeLoader", "CSafeLoader", "unsafe_load", "load_all"}
        assert not readers or path.name == "core_yaml.py", path


texts = st.text(max_size=5).filter(lambda text: not STEERS.search(text) and not {"\t", "\n"} & {*text})
texts |= st.text(alphabet="0123456789_.:eE+-xbo", max_size=6) | st.sampled_from(
    ["yes", "off", "on", "~", "", "null", "<<", "=", "2026-11-30"]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_comes_back_by_both_versions_of_yaml(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(dumped(data))
    assert read(path).data == data == yaml.safe_load(path.read_text())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="ab:[]{}-&*!<>|'\"#,? \n\t0", max_size=40).map(str.encode))
def test_whatever_stands_in_a_file_is_data_or_one_line(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_bytes(raw)
    try:
        assert isinstance(read(path).data, dict)
    except GalleyError as error:
        assert "a.yaml" in str(error) and "\n" not in str(error)
