import gzip
import json
from collections import Counter

import pytest

from galley.artifact import GalleyError
from galley.papers.codeseq.records import FILTERS, MAX_DIGITS, Record, generated_records, informative, parse_terms, read_records

BIG = 10**300 + 7


def raw(number=45, **more):
    return {"number": number, "name": "Fibonacci numbers.", "data": f"0,1,1,2,3,5,8,13,21,34,55,{BIG}", "offset": "0,4",
            "keyword": "nonn,core,easy", "formula": ["a(n) = a(n-1) + a(n-2)"], **more}  # fmt: skip


def write(path, *lines):
    with gzip.open(path, "wt") as handle:
        handle.write("\n".join(lines))
    return path


def test_records_are_read_once_each_with_big_terms_whole(tmp_path):
    line = json.dumps({"split": "classic", "level": "easy", "record": [raw(), raw(number=46), {"number": 47}]})
    counts = Counter()
    records = list(read_records(write(tmp_path / "r.gz", line, line), counts=counts))
    assert [r.id for r in records] == ["A000045", "A000046"] and counts["unreadable"] == 2
    assert records[0].terms[-1] == BIG and records[0].offset == 0 and records[0].origin == "classic/easy"
    with pytest.raises(GalleyError, match=r"r\.gz:2"):
        list(read_records(write(tmp_path / "r.gz", line, "{")))


def test_a_term_that_is_too_long_ends_its_sequence():
    assert parse_terms(f"1, 2,{'9' * (MAX_DIGITS + 1)},4") == (1, 2)
    with pytest.raises(ValueError):
        parse_terms("1,2.5")


def test_generated_records_are_their_references():
    records = list(generated_records())
    assert len(records) == 487 and {r.offset for r in records} == {0, 1, 2}
    for record in records[::17]:
        scope = {}
        exec(record.reference, scope)  # our own text, of the grid
        assert [scope["f"](record.offset + k) for k in range(len(record.terms))] == list(record.terms)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"terms": (1, 2, 3)}, "few_terms"),
        ({"terms": (0, 1) * 8}, "little_variety"),
        ({"formulas": ()}, "no_computation"),
        ({"name": "A000001 of A000002."}, "only_by_reference"),
        ({"keywords": ("nonn", "word")}, "not_mathematical"),
        ({}, "kept"),
    ],
)
def test_every_record_is_kept_or_dropped_for_a_reason(change, reason):
    good = {"id": "A1", "name": "Squares of primes", "terms": tuple(range(20)), "offset": 0, "formulas": ("n^2",)}
    counts = Counter()
    kept = list(informative([Record(**{**good, **change})], counts=counts))
    assert counts == {"input": 1, reason: 1} and len(kept) == (reason == "kept")
    assert reason == "kept" or reason in {rule.__name__ for rule in FILTERS}
