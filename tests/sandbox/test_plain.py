"""Canonical bytes: the C writer against its obvious twin, and a reader that survives anything."""

from __future__ import annotations

import collections
import enum
import marshal
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galley.sandbox import plain
from galley.sandbox.types import NO_VALUE, CallResult

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**200), 2**200), st.floats(), st.complex_numbers(), st.text(), st.binary()
)
KEYS = st.one_of(st.integers(), st.text(), st.tuples(st.integers(), st.text()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner),
        st.sets(KEYS),
        st.frozensets(KEYS),
        st.lists(inner).map(tuple),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_the_c_writer_and_its_twin_agree_and_the_reader_gets_the_value_back(value):
    data = plain.dumps(value)
    assert data == plain.encode(value)
    back = plain.decode(data)
    assert type(back) is type(value)
    assert plain.dumps(back) == data
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 10**6), st.binary(max_size=8))
def test_broken_bytes_raise_one_error_and_never_more(value, place, noise):
    data = bytearray(plain.dumps(value))
    at = place % (len(data) + 1)
    data[at : at + len(noise)] = noise
    for broken in (bytes(data), bytes(data[:at]), noise):
        try:
            plain.decode(broken)
        except plain.NotPlain:
            continue


@pytest.mark.parametrize("value", [(lambda: 0).__code__, ..., StopIteration], ids=repr)
def test_what_marshal_writes_and_is_not_plain_is_refused_on_reading(value):
    with pytest.raises(plain.NotPlain):
        plain.decode(marshal.dumps([value], 2))


def test_subclasses_come_back_as_their_base_without_their_own_methods():
    class Liar(list):
        def __iter__(self):
            return iter([4])

        def __len__(self):
            return 1

    class Code(enum.IntEnum):
        A = 3

    assert plain.decode(plain.dumps(Liar([1, 2]))) == [1, 2]
    assert plain.decode(plain.dumps([Code.A, collections.Counter("aab")])) == [3, {"a": 2, "b": 1}]
    with pytest.raises(plain.NotPlain):
        plain.dumps([object()])


def test_equal_bytes_mean_equal_type_and_value():
    different = [0, False, 0.0, -0.0, 0j, "", b"", [], (), set(), frozenset(), {}, None, 1, True, 1.0, 2**40, float(2**40)]
    assert len({plain.dumps(value) for value in different}) == len(different)
    assert math.isnan(plain.decode(plain.dumps(math.nan)))


def test_bounds():
    nested: list = []
    for _ in range(plain.MAX_DEPTH + 2):
        nested = [nested]
    with pytest.raises(plain.NotPlain, match="nested"):
        plain.decode(plain.dumps(nested))
    colliding = {i * (2**61 - 1) for i in range(1, 200)}
    with pytest.raises(plain.NotPlain, match="hash"):
        plain.decode(plain.dumps(colliding))
    assert plain.decode(plain.dumps(set(range(10**5)))) == set(range(10**5))
    assert plain.decode(plain.dumps(7**100_000)) == 7**100_000
    with pytest.raises(plain.NotPlain):
        plain.decode(b"[\xff\xff\xff\x7f")


def test_a_call_without_a_value_equals_nothing():
    assert CallResult("raised").value is NO_VALUE
    assert CallResult("value", b"[\xff").value is NO_VALUE
    assert not NO_VALUE == NO_VALUE and NO_VALUE != None  # noqa: E711, SIM201
    assert CallResult("value", plain.dumps(None)).value is None
