from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from galley.artifact import GalleyError
from galley.data.sources import Source, load_sources

ROOT = Path(__file__).parents[2]
GOOD = {
    "what": "x",
    "licence": "MIT",
    "files": {"a.txt": {"sha256": "0" * 64, "bytes": 3}},
    "origins": [{"kind": "mirror", "folder": "x"}],
}


def test_the_registry_loads_and_every_source_has_a_licence():
    sources = load_sources(ROOT / "recipes/sources.yaml")
    assert len(sources) >= 7
    assert all(s.licence and s.bytes > 0 for s in sources.values())


BROKEN = [
    ({"extra": 1}, "extra"),
    ({"origins": []}, "origins"),
    ({"files": {"a.txt": {"sha256": "xyz", "bytes": 3}}}, "sha256"),
    ({"files": {"a.txt": {"sha256": "0" * 64, "bytes": 0}}}, "bytes"),
    ({"files": {"../a.txt": {"sha256": "0" * 64, "bytes": 3}}}, "files"),
    ({"origins": [{"kind": "hub", "repo": "a/b", "revision": "main"}]}, "revision"),
    ({"origins": [{"kind": "ftp"}]}, "origins"),
    ({"origins": [{"kind": "github", "repo": "a/b", "commit": "0" * 40, "paths": {"a.txt": "../b.txt"}}]}, "paths"),
    ({"origins": [{"kind": "github", "repo": "a/b", "commit": "0" * 40, "paths": {"b.txt": "c.txt"}}]}, "paths"),
]


@pytest.mark.parametrize(("change", "field"), BROKEN)
def test_a_fault_names_the_source_and_the_field(tmp_path, change, field):
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"broken": GOOD | change}))
    with pytest.raises(GalleyError, match=f"'broken'.*{field}"):
        load_sources(path)


@given(st.text(min_size=1, max_size=30))
def test_no_file_name_leaves_the_folder(name):
    files = {name: {"sha256": "0" * 64, "bytes": 3}}
    try:
        Source.model_validate(GOOD | {"files": files})
    except ValueError:
        return
    assert (Path("/base") / name).resolve().is_relative_to("/base")
