"""A run that could not write where it must is refused before it begins, in one line, and nothing is tried out."""

import os
import shutil
from pathlib import Path

import pytest

from galley.artifact import GalleyError
from galley.ground import ENOUGH, WRITTEN, check_ground


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.delenv("GALLEY_CACHE", raising=False)


def refused(folder):
    before = sorted(folder.rglob("*"))
    with pytest.raises(GalleyError) as caught:
        check_ground(folder)
    assert sorted(folder.rglob("*")) == before and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_project_of_folders_or_of_none_yet_is_fit(tmp_path):
    check_ground(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")  # another disk
    for name in WRITTEN[1:]:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    check_ground(tmp_path)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_to_nothing_where_a_run_writes_is_refused(name, kind, tmp_path):
    place = tmp_path / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine") if kind == "file" else place.symlink_to(tmp_path / "gone")
    said = refused(tmp_path)
    assert said.startswith(f"{place} is a {kind}") and said.endswith("a run writes there: move it away, or give the rights to it")


def test_what_may_not_be_written_is_refused(tmp_path, monkeypatch):
    """The kernel's word, which for root is another one than for the user: so it is given here."""
    (tmp_path / "results").mkdir()
    ask = os.access

    def no(path, mode, **more):
        return ask(path, mode, **more) and not (mode & os.W_OK and str(path).startswith(str(tmp_path / "results")))

    monkeypatch.setattr("galley.outputs.os.access", no)
    assert "which may not be written" in refused(tmp_path)


@pytest.mark.parametrize("place", ["/dev/null", "a file", "/dev/null/below"])
def test_a_cache_that_is_no_folder_is_refused_by_the_variable_s_name(place, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    cache = str(tmp_path / "file") if place == "a file" else place
    monkeypatch.setenv("GALLEY_CACHE", cache)
    said = refused(tmp_path)
    assert said.startswith(cache) and "GALLEY_CACHE names it" in said and "or unset GALLEY_CACHE" in said and "make room" not in said


@pytest.mark.parametrize("name", [*WRITTEN, "temporary"])
def test_a_full_disk_is_named_by_the_folder_that_is_on_it(name, tmp_path, monkeypatch):
    place = tmp_path / name
    place.mkdir(parents=True)
    monkeypatch.setattr("galley.ground.tempfile.tempdir", str(tmp_path / "temporary"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=ENOUGH - 1 if Path(path) == place else ENOUGH))
    said = refused(tmp_path)
    assert f"a run needs 1.0 MB in {place}" in said and "1000.0 kB free; make room there" in said
