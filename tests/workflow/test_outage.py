"""A source that is out of reach, comes back or is edited, files of another time or mirror: content decides, and nothing is silent."""

import hashlib
import os
import shutil
import time

import pytest
import yaml
from tree import copy_tree

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
PLAY = "".join(f"Line {n} of a play that is long enough to be a document of its own.\n" for n in range(4000))
CORPUS = "results/smoke/corpus/corpus.json"
SMOKE = ("--config", "scale=smoke")


@pytest.fixture(scope="module")
def tree(tmp_path_factory, shared):
    """A tiny tree without network, whose Shakespeare only a mirror has, and essays nobody."""
    tree = copy_tree(tmp_path_factory.mktemp("sources"), tiny=True, shared=shared)
    path = tree.folder / "recipes/sources.yaml"
    registry = yaml.safe_load(path.read_text())
    entry = {"sha256": hashlib.sha256(PLAY.encode()).hexdigest(), "bytes": len(PLAY.encode())}
    registry["shakespeare"] |= {"files": {"play.txt": entry}, "origins": [{"kind": "mirror", "folder": "plays"}]}
    path.write_text(yaml.safe_dump(registry, sort_keys=False))
    for recipe in tree.folder.glob("recipes/*/recipe.yaml"):
        recipe.write_text(recipe.read_text().replace("essays: 50000", "essays: 0"))
    for name in ("mirror", "another"):
        (tree.folder / name / "plays").mkdir(parents=True)
        (tree.folder / name / "plays/play.txt").write_text(PLAY)
    return tree


def run(tree, *words):
    code, text = tree.snakemake("--cores", "1", CORPUS, *words)
    return code, text, (tree.folder / CORPUS).read_text() if (tree.folder / CORPUS).exists() else ""


def test_an_outage_stops_and_is_announced_and_a_source_that_is_back_makes_the_corpus_again(tree):
    code, text, corpus = run(tree, *SMOKE)
    assert code and not corpus
    assert "would be made without shakespeare, which is out of reach" in text and "missing=accept" in text
    assert "out of reach: paul_graham_essays, shakespeare" in text, "the end of the run names the absent sources"
    code, text, corpus = run(tree, *SMOKE, "missing=accept")
    assert code == 0 and '"absent"' in corpus and "no mirror is set" in text, text
    code, text, same = run(tree, *SMOKE)
    assert code == 0 and "Nothing to be done" in text and same == corpus, "tried again, still away: nothing is made again"
    code, text, corpus = run(tree, *SMOKE, "mirror=mirror")
    assert code == 0 and "shakespeare had been out of reach and is fetched now" in text, text
    assert '"shakespeare"' in corpus and '"absent"' not in corpus
    code, text, _ = run(tree, *SMOKE, "mirror=mirror")
    assert code == 0 and "Nothing to be done" in text


def test_where_it_comes_from_and_when_a_file_was_touched_decide_nothing(tree):
    for setting in ((), ("mirror=another",)):
        code, text = tree.snakemake("-n", CORPUS, *SMOKE, *setting)
        assert code == 0 and "Nothing to be done" in text, text
    later = time.time() + 7200  # a clock that has jumped back since
    for path in (tree.folder / "results/sources").rglob("*"):
        os.utime(path, (later, later))
    code, text = tree.snakemake("-n", CORPUS, *SMOKE)
    assert code == 0 and "Nothing to be done" in text, text
    code, text = tree.snakemake("--cores", "1", CORPUS, *SMOKE, "-R", "prepare_corpus")
    assert code == 0, "a job does not fail because its input is dated in the future: " + text


@pytest.mark.parametrize("words", [("-n",), ("--cores", "1")])
@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_an_edited_or_deleted_source_is_noticed_though_nothing_is_to_be_done(tree, change, words):
    path, text = tree.folder / "results/sources/shakespeare/play.txt", PLAY.replace("Line 1 ", "Line 2 ")
    path.write_text(text) if change == "edited" else path.unlink()
    code, said = tree.snakemake(*words, CORPUS, *SMOKE)
    (line,) = [line for line in said.splitlines() if "error" in line]
    assert code == 2 and "play.txt is not what was fetched" in line and "delete results/sources/shakespeare and run again" in line, said
    path.write_text(PLAY)
    code, said = tree.snakemake(*words, CORPUS, *SMOKE)
    assert code == 0 and "Nothing to be done" in said, said


def test_a_source_of_which_nothing_is_left_is_fetched_when_it_is_needed(tree):
    shutil.rmtree(tree.folder / "results/sources/shakespeare")
    code, text, corpus = run(tree, *SMOKE, "mirror=mirror", "-R", "prepare_corpus")
    assert code == 0 and '"shakespeare"' in corpus and (tree.folder / "results/sources/shakespeare/play.txt").read_text() == PLAY, text
