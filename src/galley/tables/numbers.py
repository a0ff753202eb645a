"""How a number reads, the same in every form: Markdown, HTML, LaTeX, the console and the recipes' pages.

Source: ours. The csv files hold six significant digits, which is what is read here: a number from them and the one before it was written
read alike.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

PLACES, EXACT, LEAST, MOST = 3, 4, Decimal("0.0001"), 10**6


def number(value: float) -> str:
    """Return a number as it is if four digits say it or it is a count of 32nds; else to three decimals, two digits at least.

    0.3125 and 0.96875 are exact shares, 0.506936 is an estimate and reads 0.507, 0.00512345 reads 0.0051. Halves are rounded away
    from zero. Below 0.0001 and from a million on a number is in scientific form.
    """
    if not math.isfinite(value):
        return str(float(value))
    exact = Decimal(f"{float(value):.6g}")
    if exact == 0:
        return "0"
    if abs(exact) < LEAST:
        return f"{_rounded(exact, exact.adjusted() - 1):.1e}"
    if abs(exact) >= MOST:
        return f"{value:.6g}"
    digits = len(exact.normalize().as_tuple().digits)
    if digits <= EXACT or exact * 32 == int(exact * 32):
        return f"{exact.normalize():f}"
    if -exact.adjusted() >= PLACES - 1:
        return f"{_rounded(exact, exact.adjusted() - 1):f}"
    return f"{exact:f}" if -int(exact.as_tuple().exponent) <= PLACES else f"{_rounded(exact, -PLACES):f}"


def percent(value: float) -> str:
    """Return a share as a percentage: 0.3125 is 31.25 %."""
    return f"{number(float(Decimal(f'{float(value):.6g}') * 100))} %"


def _rounded(value: Decimal, place: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(place), rounding=ROUND_HALF_UP)
