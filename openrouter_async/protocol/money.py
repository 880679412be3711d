"""Exact US dollars: sums of many small amounts without rounding errors."""

import math
from decimal import ROUND_UP, Context, Decimal
from typing import Final

# Enough digits for any sum of amounts that are written with 17 digits each. The
# context is our own, because a program may have set another one for its thread.
_CONTEXT: Final = Context(prec=80, traps=[])
_UNIT: Final = Decimal("1e-12")

ZERO: Final = Decimal(0)

add: Final = _CONTEXT.add
subtract: Final = _CONTEXT.subtract
multiply: Final = _CONTEXT.multiply


def exact(amount: float | Decimal) -> Decimal:
    """Return an amount with the digits that it is written with: 0.1 is a tenth."""
    if isinstance(amount, Decimal):
        return amount
    return Decimal(repr(amount) if isinstance(amount, float) else amount)


def round_up(amount: Decimal) -> Decimal:
    """Return an amount rounded up to a multiple of 1e-12 dollars."""
    return amount.quantize(_UNIT, ROUND_UP, _CONTEXT) if amount.is_finite() else amount


def float_above(amount: Decimal) -> float:
    """Return the nearest float that is not less, by the digits that it prints."""
    number = float(amount)
    return number if exact(number) >= amount else math.nextafter(number, math.inf)
