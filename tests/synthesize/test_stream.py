import json

import pytest

from galley.synthesize.stream import read_rows, split_rows, stream, whole_lines


class Forgetful:
    """Stands where the executor does: counts how often a batch was settled."""

    def __init__(self):
        self.times = 0

    def forget(self):
        self.times += 1


def test_a_killed_stream_goes_on_and_ends_in_the_same_rows(tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    seen = []

    def work(chunk):
        seen.extend(chunk)
        return [{"n": n} for n in chunk]

    def dies(chunk):
        if 7 in chunk:
            raise KeyboardInterrupt
        return work(chunk)

    assert stream(range(10), rows=whole, batch=3, work=work, run=Forgetful(), what="x") == 10
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        stream(range(10), rows=cut, batch=3, work=dies, run=Forgetful(), what="x")
    with cut.open("a") as handle:
        handle.write('{"n": 6')  # a torn line, as a kill may leave it
    run = Forgetful()
    assert stream(iter(range(10)), rows=cut, batch=2, work=work, run=run, what="x") == 10 and run.times == 2
    assert cut.read_bytes() == whole.read_bytes() and sorted(seen) == list(range(10))


def test_inputs_are_taken_a_batch_at_a_time(tmp_path):
    taken = []

    def inputs():
        for n in range(100):
            taken.append(n)
            yield n

    def work(chunk):
        assert len(taken) <= chunk[-1] + 1
        return [{} for _ in chunk]

    stream(inputs(), rows=tmp_path / "rows.jsonl", batch=8, work=work, run=Forgetful(), what="x")


def test_whole_lines_cuts_the_torn_one(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"1\n2\n3")
    assert whole_lines(path) == 2 and path.read_bytes() == b"1\n2\n" and whole_lines(tmp_path / "none") == 0


def test_parts_are_written_whole_from_one_pass(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(5)))
    even, big = tmp_path / "even.jsonl", tmp_path / "big.jsonl"
    parts = {even: lambda row: row if row["n"] % 2 == 0 else None, big: lambda row: {"big": row["n"]} if row["n"] > 2 else None}
    assert split_rows(rows, parts) == {even: 3, big: 2}
    assert list(read_rows(big)) == [{"big": 3}, {"big": 4}] and not list(tmp_path.glob(".*"))
