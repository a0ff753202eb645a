"""The Kubernetes profile's storage: every file of the chain travels through a bucket, here one on this machine."""

from datetime import UTC, datetime

import pytest
from s3_stand_in import s3_server
from tree import TABLE, Tree, copy_tree, s3_env

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
BUCKET = "galley-results"
HERE = ("--profile", "profiles/kubernetes", "--executor", "local", "--cores", "2")  # the profile's storage, without its pods


@pytest.fixture
def stored(tmp_path, shared):
    """A tiny tree whose default storage is a local bucket, and the bucket."""
    buckets: dict = {BUCKET: {}}
    tree = copy_tree(tmp_path / "tree", tiny=True, shared=shared, loopback=True)
    with s3_server(buckets) as address:
        yield Tree(tree.folder, tree.env | s3_env(address)), buckets[BUCKET]


def test_the_whole_chain_resolves_on_an_empty_bucket(stored):
    tree, bucket = stored
    code, text = tree.snakemake("-n", "--profile", "profiles/kubernetes", "all", "--config", "scale=smoke")
    assert code == 0, text
    assert f"s3://{BUCKET}/results/smoke/corpus/corpus.json" in text and not bucket


def test_a_rule_reads_from_the_bucket_and_writes_to_it(stored):
    tree, bucket = stored
    code, text = tree.snakemake(*HERE, "results/smoke/corpus/corpus.json", "--config", "scale=smoke", "missing=accept")
    assert code == 0, tree.failure(text)
    assert {
        "results/sources/shakespeare/source.json",
        "results/smoke/corpus/corpus.json",
        "results/smoke/corpus/train.jsonl",
    } <= bucket.keys()
    assert not (tree.folder / "results/smoke").exists()


def test_the_table_is_made_from_the_bucket_and_lands_in_it(stored, finished):
    tree, bucket = stored
    now = datetime.now(UTC)
    for path in sorted((finished.folder / "results").glob("**/*")):
        key = str(path.relative_to(finished.folder))
        if path.is_file() and key.startswith(("results/smoke/", "results/sources/")) and "/state/" not in key:
            bucket[key] = (path.read_bytes(), now)
    code, text = tree.snakemake(*HERE, "--rerun-triggers", "mtime", "--config", "scale=smoke", "--allowed-rules", "table", "--", TABLE)
    assert code == 0, tree.failure(text)
    assert bucket[TABLE][0] == (finished.folder / TABLE).read_bytes()
