"""What a fetch left is what is read: an edited file is refused, an absent source is named, and one that comes back is fetched."""

import hashlib
import json
import os

import pytest
import yaml

from galley.artifact import GalleyError, sha256_file, sha256_tree
from galley.data.corpus import prepare_corpus, read_split
from galley.data.fetch import fetch
from galley.data.fetched import absent, check_present, present, read_record, recorded_absent, refuse_absent, registered, try_again

PLAY = "To be, or not to be, that is the question.\n" * 200


@pytest.fixture
def recipes(tmp_path):
    """A registry with one source, which only a mirror has."""
    entry = {"sha256": hashlib.sha256(PLAY.encode()).hexdigest(), "bytes": len(PLAY)}
    source = {"what": "a play", "licence": "none", "files": {"play.txt": entry}, "origins": [{"kind": "mirror", "folder": "plays"}]}
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "sources.yaml").write_text(yaml.safe_dump({"shakespeare": source}))
    (folder / "datasets.yaml").write_text("{}\n")
    return folder


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror/plays").mkdir(parents=True)
    (tmp_path / "mirror/plays/play.txt").write_text(PLAY)
    return tmp_path / "mirror"


def fetched(recipes, sources, mirror):
    out = sources / "shakespeare"
    fetch("shakespeare", out=out, sources=recipes / "sources.yaml", mirror=mirror, optional=True, beside=sources / "shakespeare.json")
    return out


def test_the_record_beside_says_what_is_there_and_not_where_it_came_from(recipes, mirror, tmp_path):
    out = fetched(recipes, tmp_path / "sources", mirror)
    assert present(out) and "origin" in read_record(out)
    record = json.loads((tmp_path / "sources/shakespeare.json").read_text())
    assert record["sha256"] == {"play.txt": hashlib.sha256(PLAY.encode()).hexdigest()} and "origin" not in record
    before = sha256_tree(out)
    (out / "source.json").write_text(json.dumps({**read_record(out), "origin": {"kind": "github"}}))
    assert sha256_tree(out) == before


def test_an_edited_or_missing_file_is_refused_wherever_the_source_is_read(recipes, mirror, tmp_path):
    out = fetched(recipes, tmp_path / "sources", mirror)
    (out / "play.txt").write_text(PLAY + "x")
    with pytest.raises(GalleyError, match=r"play\.txt is not what was fetched: its sha256 is .*delete .*shakespeare and run again"):
        present(out)
    with pytest.raises(GalleyError, match="is not what was fetched"):
        prepare_corpus(out=tmp_path / "corpus", texts={"shakespeare": out}, seed=0, max_bytes={"shakespeare": 9000})
    (out / "play.txt").unlink()
    with pytest.raises(GalleyError, match="its sha256 is nothing"):
        absent(["shakespeare"], sources=out.parent)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"status": "ok"', '{"status": "maybe"}', '{"status": "ok", "sha256": 3}', "\x00\x01"])
def test_a_broken_record_is_refused(text, tmp_path):
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare/source.json").write_text(text)
    with pytest.raises(GalleyError, match=r"source\.json is broken .* fetched anew"):
        present(tmp_path / "shakespeare")


@pytest.mark.parametrize("text", ["", "[1]", "3", '{"status": "ab', "\x00"])
def test_a_broken_record_beside_a_source_is_refused(text, tmp_path):
    (tmp_path / "shakespeare.json").write_text(text)
    with pytest.raises(GalleyError, match=r"shakespeare\.json is broken .*; delete it and .*shakespeare, and run again"):
        recorded_absent(tmp_path)


def test_a_corpus_that_would_lack_a_source_stops_unless_that_is_accepted(recipes, tmp_path):
    out = fetched(recipes, tmp_path / "sources", None)
    make = {"out": tmp_path / "corpus", "texts": {"shakespeare": out}, "seed": 0}
    with pytest.raises(GalleyError, match=r"would be made without shakespeare, which is out of reach.*missing=accept"):
        prepare_corpus(**make, max_bytes={"shakespeare": 9000, "pydoc": 20_000})
    assert not (tmp_path / "corpus").exists()
    prepare_corpus(**make, max_bytes={"shakespeare": 9000, "pydoc": 20_000}, missing="accept")
    assert json.loads((tmp_path / "corpus/corpus.json").read_text())["absent"] == ["shakespeare"]
    prepare_corpus(**make, max_bytes={"pydoc": 20_000})  # not wanted: nothing is missing
    assert "absent" not in json.loads((tmp_path / "corpus/corpus.json").read_text())


def test_a_folder_of_one_s_own_text_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/play.txt").write_text(PLAY)
    prepare_corpus(out=tmp_path / "corpus", texts={"shakespeare": tmp_path / "mine"}, seed=0, max_bytes={"shakespeare": 9000})
    assert any(read_split(tmp_path / "corpus", split) for split in ("train", "calibration", "heldout"))


def test_an_unknown_word_for_missing_is_refused(tmp_path):
    with pytest.raises(GalleyError, match="missing is 'maybe'; allowed: stop, accept"):
        refuse_absent([], sources=tmp_path, what="x", missing="maybe")


def test_an_absent_source_is_tried_again_and_fetched_when_it_is_back(recipes, mirror, tmp_path):
    sources = tmp_path / "sources"
    fetched(recipes, sources, None)
    record = (sources / "shakespeare.json").read_bytes()
    assert list(recorded_absent(sources)) == ["shakespeare"]
    still = try_again(sources, recipes=recipes, mirror=None)
    assert "no mirror is set" in still["shakespeare"]
    assert (sources / "shakespeare.json").read_bytes() == record  # nothing is made again for a source that stays away
    assert try_again(sources, recipes=recipes, mirror=mirror) == {"shakespeare": ""}
    assert recorded_absent(sources) == {} and present(sources / "shakespeare")


def test_another_entry_of_the_registry_is_another_source(recipes):
    before = registered(recipes)["shakespeare"]
    text = (recipes / "sources.yaml").read_text()
    (recipes / "sources.yaml").write_text(text.replace("folder: plays", "folder: dramas"))
    assert registered(recipes)["shakespeare"] == before  # where it comes from
    digest = hashlib.sha256(PLAY.encode()).hexdigest()
    (recipes / "sources.yaml").write_text(text.replace(digest, "f" * 64))
    assert registered(recipes)["shakespeare"] != before  # what it is


@pytest.fixture
def checked(recipes, mirror, tmp_path):
    """A fetched source that was found right once, and the check."""
    sources, seen = tmp_path / "sources", tmp_path / "seen.json"
    out = fetched(recipes, sources, mirror)

    def check():
        check_present(sources, seen=seen)

    check()
    return out, check


def test_every_run_notices_a_fetched_file_that_was_changed_or_is_gone(checked, mirror):
    out, check = checked
    right = (out / "play.txt").read_bytes(), (out / "play.txt").stat()
    (out / "play.txt").write_text(PLAY.replace("not", "now"))
    os.utime(out / "play.txt", ns=(right[1].st_atime_ns, right[1].st_mtime_ns))  # as long and as old as it was
    for _ in range(2):
        with pytest.raises(GalleyError, match=r"play\.txt is not what was fetched: its sha256 is .*delete .*shakespeare and run again"):
            check()
    (out / "play.txt").unlink()
    with pytest.raises(GalleyError, match=r"play\.txt is not what was fetched: its sha256 is nothing, not .*delete .*shakespeare and run"):
        check()
    (out / "play.txt").write_bytes(right[0])
    check()
    (out / "source.json").unlink()
    with pytest.raises(
        GalleyError, match=r"source\.json is not what was fetched: .*shakespeare\.json says otherwise; delete .*shakespeare"
    ):
        check()
    for path in out.iterdir():
        path.unlink()
    out.rmdir()  # the way out: it is fetched when it is needed
    check()


def test_only_what_was_touched_since_is_read_again(checked, monkeypatch):
    out, check = checked
    read = []
    monkeypatch.setattr("galley.data.fetched.sha256_file", lambda path: read.append(path) or sha256_file(path))
    check()
    assert read == []
    os.utime(out / "play.txt")
    check()
    check()
    assert read == [out / "play.txt"]


def test_an_absent_source_and_a_folder_of_no_sources_are_no_fault(recipes, tmp_path):
    check_present(tmp_path / "none", seen=tmp_path / "seen.json")
    fetched(recipes, tmp_path / "sources", None)
    check_present(tmp_path / "sources", seen=tmp_path / "nowhere/seen.json")
    assert not (tmp_path / "nowhere").exists()
