import os
import socket
from pathlib import Path

import pytest

from galley import inputs, outputs

OURS = inputs.json_with("sha256", others=())


def said(path, check):
    found = inputs.first_wrong([path], [check])
    return found and found[1]


def occupied(path, kind):
    """Put something at a path that is no plain file or folder of its own."""
    beside = path.parent / "beside"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))
    elif kind == "link to nothing":
        path.symlink_to(beside)
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "link to a folder":
        beside.mkdir()
        path.symlink_to(beside)
    else:
        beside.write_text('{"sha256": "1"}')
        path.symlink_to(beside)
    return path


SPECIAL = ("pipe", "socket", "link to nothing", "link to itself", "link to a folder", "link to a file")


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_a_rename_would_replace_unasked_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = occupied(tmp_path / "x", kind)
    wrong = "is a link" if kind.startswith("link") else "is a pipe, a socket or a device and no file"
    assert said(path, outputs.new_file(OURS)).startswith(wrong)
    wrong = "is a link" if kind.startswith("link") else "is a file and no folder"
    assert said(path, outputs.made_anew()).startswith(wrong)
    under = said(path / "new", outputs.new_file(OURS))
    assert under is None if kind == "link to a folder" else "which is no folder" in under
    assert os.path.lexists(path)


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_a_link_to_a_folder_is_one_to_add_to(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    wrong = {"link to a folder": None, "link to nothing": "is a link to nothing", "link to itself": "is a link to nothing"}
    assert said(occupied(tmp_path / "x", kind), outputs.added_to) == wrong.get(kind, "is a file and no folder")


def test_a_device_is_refused():
    assert said(Path("/dev/null"), outputs.new_file(OURS)) == "is a pipe, a socket or a device and no file"
    assert said(Path("/dev/stdout"), outputs.new_file(OURS)).startswith("is a link")


def test_a_file_is_replaced_by_its_own_kind_alone(tmp_path):
    check, path = outputs.new_file(OURS), tmp_path / "record.json"
    for content in (None, "", '{"sha256": "1"}'):
        if content is not None:
            path.write_text(content)
        assert said(path, check) is None
    path.write_text('{"sha256": "1", "thesis": "years of work"}')
    assert said(path, check) == "is no file that this command wrote: it has 'thesis'"
    path.write_text("# Read me")
    assert said(path, check).startswith("is no file that this command wrote: it is no JSON: ")


def test_a_folder_that_is_made_anew_must_be_one_of_ours(tmp_path):
    ours = outputs.made_anew(inputs.holding("source.json", check=inputs.json_with("status")), names=("source.json", "a.txt"))
    assert said(tmp_path / "new", ours) is None
    assert said(tmp_path, ours) is None
    (tmp_path / "thesis.tex").touch()
    assert said(tmp_path, ours).startswith("holds other files, such as 'thesis.tex', which would be lost: it holds no good source.json")
    (tmp_path / "source.json").write_text("{}")
    assert said(tmp_path, ours).endswith("it holds no good source.json: it has no 'status'")
    (tmp_path / "source.json").write_text('{"status": "ok"}')
    assert said(tmp_path, ours) == "holds other files, such as 'thesis.tex', which would be lost"
    (tmp_path / "thesis.tex").unlink()
    assert said(tmp_path, ours) is None
    assert said(tmp_path, outputs.made_anew()) == "is not empty, but holds 'source.json'"


def test_two_paths_meet_through_links_and_points(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").touch()
    (tmp_path / "link").symlink_to("a")
    os.link(tmp_path / "a/b/f", tmp_path / "hard")
    cases = {
        ("a", "link"): "is also", ("a", "a/../link/."): "is also", ("hard", "a/b/f"): "is also", ("a/new/x", "link"): "lies in",
        ("link/b/new", "a/b"): "lies in", ("link", "a/b"): "holds", ("a", "ab"): None, ("a/b2", "a/b"): None,
    }  # fmt: skip
    for (one, other), how in cases.items():
        assert outputs.overlap(tmp_path / one, tmp_path / other) == how, (one, other)
