import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.tables.numbers import number, percent


@pytest.mark.parametrize(
    ("value", "read"),
    [
        # what four digits say, and shares of two, stand as they are
        (0.3125, "0.3125"), (0.1875, "0.1875"), (0.96875, "0.96875"), (0.921875, "0.922"), (0.234375, "0.234"),
        (0.75, "0.75"), (1.0, "1"), (0.0, "0"),
        (-0.0, "0"), (134.52, "134.52"), (0.0005, "0.0005"), (-0.00032, "-0.00032"), (153, "153"), (0.1 + 0.2, "0.3"),
        # the rest is rounded to three decimals, or two digits
        (0.506936, "0.507"), (1 / 3, "0.333"), (2.16476, "2.165"), (0.59996, "0.600"), (99.9996, "100.000"), (0.00512345, "0.0051"),
        (0.0123456, "0.012"), (-0.00995678, "-0.0100"), (134.515, "134.515"), (12345.6, "12345.6"),
        # halves go away from zero, by the decimals that are seen
        (2.0005, "2.001"), (-2.0005, "-2.001"), (2.0015, "2.002"), (1.0625, "1.0625"), (10.0045, "10.005"),
        # very small and very large ones
        (1e-6, "1.0e-6"), (-5.15e-5, "-5.2e-5"), (8.9e-15, "8.9e-15"), (1234567.0, "1.23457e+06"), (1e300, "1e+300"),
        (float("nan"), "nan"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_a_number_reads(value, read):
    assert number(value) == read


def test_a_percentage_keeps_the_digits_of_its_share():
    assert [percent(x) for x in (0.3125, 0.96875, 0.5, 1 / 3, 0)] == ["31.25 %", "96.875 %", "50 %", "33.333 %", "0 %"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_as_it_does_from_the_csv_and_is_near(value):
    read = number(value)
    assert read == number(float(f"{value:.6g}"))
    assert float(read) == pytest.approx(value, rel=0.05, abs=1e-300)
    assert abs(value) < 1e-4 or float(read) == pytest.approx(value, rel=1e-5, abs=6e-4)
