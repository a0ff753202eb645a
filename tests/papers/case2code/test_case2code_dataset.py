"""Splits by group, names taken away, controls, and an export without the answer in its prompt."""

import json

import pytest

from galley.artifact import GalleyError
from galley.papers.case2code.dataset import (
    Item,
    anonymous,
    examples,
    export_rows,
    read_items,
    read_samples,
    rename,
    split_of,
    write_samples,
)
from galley.papers.case2code.prompts import LEAD_IN
from galley.papers.case2code.select import Case, select
from galley.papers.case2code.synthesis import Sample


def sample(i, group=None):
    code = f"def fn{i}(n):\n    return fn{i}(n - 1) + {i} if n else 0\n"
    return Sample(f"s{i}", f"fn{i}", code, "p", "probe", group or f"g{i}", tuple(Case({"n": str(n)}, str(n * i)) for n in range(12)))


SAMPLES = [sample(i) for i in range(1, 41)]
ITEMS = [Item(s, select(s.cases, seed=s.id)) for s in SAMPLES]


def test_twins_share_a_split_and_more_functions_move_none(tmp_path):
    twins = [sample(i, group="twins") for i in range(50, 60)]
    write_samples([*SAMPLES, *twins], tmp_path / "all.jsonl")
    write_samples(SAMPLES[:20], tmp_path / "few.jsonl")
    splits = {}
    for split in ("train", "heldout"):
        found = read_items(tmp_path / "all.jsonl", split, seed=0, heldout=0.3, min_hidden=2)
        splits[split] = {i.sample.id for i in found}
        few = {i.sample.id for i in read_items(tmp_path / "few.jsonl", split, seed=0, heldout=0.3, min_hidden=2)}
        assert few == splits[split] & {s.id for s in SAMPLES[:20]}
    assert len(splits["train"] | splits["heldout"]) == 50 and not splits["train"] & splits["heldout"]
    assert 5 < len(splits["heldout"]) < 30 and len({split_of("twins", seed=0, heldout=0.3) for _ in twins}) == 1


def test_a_name_is_taken_away_from_code_and_prompt():
    item = anonymous(ITEMS[4])
    assert item.sample.code == "def f(n):\n    return f(n - 1) + 5 if n else 0\n"
    (example,) = examples([item], seed=0)
    assert "fn5" not in example.prompt + example.answer
    assert rename("def g(g1):\n    return g1.g + g(1)\n", "g", "f") == "def f(g1):\n    return g1.g + f(1)\n"


def test_the_controls_change_the_cases_and_nothing_else():
    own, other, none = (examples(ITEMS, seed=3, cases=c) for c in ("own", "shuffled", "none"))
    assert [e.answer for e in own] == [e.answer for e in other] == [e.answer for e in none]
    assert all(e.prompt.endswith(LEAD_IN) for e in (*own, *other, *none))
    for item, mine, theirs, bare in zip(ITEMS, own, other, none, strict=True):
        text = item.shown[-1].output
        assert mine.prompt != theirs.prompt and len(bare.prompt) < len(mine.prompt) and text in mine.prompt
    assert own == examples(ITEMS, seed=3) != examples(ITEMS, seed=4)


def test_mixtures_show_cases_in_about_half_and_learn_all_of_a_text():
    arms = ("own", "shuffled", "none", "mixed", "mixed_shuffled", "text", "text_mixed", "text_shuffled")
    own, other, none, mixed, mixed_other, text, text_mixed, text_other = (examples(ITEMS, seed=3, cases=c) for c in arms)
    kept = [m == o for m, o in zip(mixed, own, strict=True)]
    assert 10 < sum(kept) < 30 and all(m == (o if k else n) for m, k, o, n in zip(mixed, kept, own, none, strict=True))
    assert mixed_other == [o if k else n for k, o, n in zip(kept, other, none, strict=True)]
    assert {e.prompt for e in (*text, *text_mixed, *text_other)} == {"\n"} and [e.answer for e in text] == [s.code for s in SAMPLES]
    for given, plain, whole in ((own, text, text_mixed), (other, text, text_other)):
        wanted = [g.prompt + g.answer if k else p.answer for g, k, p in zip(given, kept, plain, strict=True)]
        assert [e.answer for e in whole] == wanted
    again = examples(ITEMS, seed=3, cases="shuffled", draw=1)
    assert sum(a == b for a, b in zip(again, other, strict=True)) < 5  # yet another function's cases


def test_an_export_says_what_was_drawn_and_never_shows_the_answer():
    rows = list(export_rows(ITEMS, seed=0))
    assert rows == list(export_rows(ITEMS, seed=0)) and len(rows) == len(ITEMS)
    for row, item in zip(rows, ITEMS, strict=True):
        assert item.sample.code in row["answer"] and item.sample.code not in row["prompt"]
        assert row["shown"] == list(item.selection.shown) and set(row["shown"]).isdisjoint(row["hidden"])
        json.dumps(row)


def test_a_broken_sample_is_named_by_its_line(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "1", "cases": [{"inputs": {}}]}\n')
    with pytest.raises(GalleyError, match=r"cases\.jsonl:1: no sample .*output.*galley case2code synthesize"):
        list(read_samples(path))
