"""Overlap of word n-grams against a slow twin, and every row either kept or counted under a benchmark."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.data.decontaminate import build_index, clean, decontaminate, ngram_overlap, ngrams, words

TEXTS = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


def slow_hit(text, benchmarks, n):
    """Every window of the text against every window of every benchmark."""
    mine = words(text)
    for name, texts in benchmarks.items():
        for other in map(words, texts):
            size = n if len(other) >= n else len(other) if len(other) >= 5 else None
            if size is None:
                continue
            theirs = [other[i : i + size] for i in range(len(other) - size + 1)]
            if any(mine[i : i + size] in theirs for i in range(len(mine) - size + 1)):
                return name
    return None


@given(TEXTS, st.lists(TEXTS, max_size=3), st.sampled_from([5, 6, 8]))
def test_the_index_finds_what_a_slow_search_finds(text, texts, n):
    assert build_index({"bench": texts}, n=n).hit(text) == slow_hit(text, {"bench": texts}, n)


@pytest.mark.parametrize("n", [10, 13])
def test_layout_and_case_do_not_hide_a_copy_and_n_minus_one_words_do_not_count(n):
    bench = "def f(a, b):\n    " + " ".join(f"w{i}" for i in range(n))
    copy = ", ".join(f"W{i}" for i in range(n))
    short = " ".join(f"w{i}" for i in range(n - 1))
    kept, counts = decontaminate([copy, short], {"bench": [bench]}, text=str, n=n)
    assert kept == [short] and counts == {"input": 2, "bench": 1, "kept": 1}


def test_counts_by_benchmark_add_up_and_keys_catch_renamed_copies():
    index = build_index({"a": ["one two three four five six"], "b": ["six five four three two one"]}, n=6, keys={"c": ["KEY"]})
    rows = ["one two three four five six", "x six five four three two one", "renamed", "fine"]
    counts = Counter()
    kept = list(clean(rows, index, text=str, counts=counts, key=lambda row: "KEY" if row == "renamed" else row))
    assert kept == ["fine"]
    assert counts.pop("input") == counts.total() == 4 and counts == {"a": 1, "b": 1, "c": 1, "kept": 1}


def test_overlap_is_a_share():
    assert ngram_overlap("a b c d", "a b c x", n=2) == pytest.approx(2 / 3)
    assert ngram_overlap("a", "a", n=2) == 0.0 and ngrams("a b", 2) == {("a", "b")}
