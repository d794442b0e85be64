"""The numbers of the calculator: fractions as long as they can be, floats where a root, a logarithm or an angle is."""

import math
import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

MOST_BITS = 1024
"""Of a whole number; a fraction whose numerator or denominator is longer becomes a float."""
MOST_PLACES = 300
MOST_WRITTEN_PLACES = 30
CLOSE = 1e-12
"""Two numbers of which one is a float are equal, if they differ by no more than this, relatively."""

Value = Fraction | float
Function = Callable[..., Value | int]


def literal(written: str) -> Value:
    """A number as it stands in an expression, in decimal notation."""
    number = Decimal(written)
    if number and abs(number.adjusted()) > MOST_PLACES * 2:
        raise OverflowError if number.adjusted() > 0 else ValueError(TOO_SMALL)
    return bounded(Fraction(number))


def bounded(value: Value | int | complex) -> Value:
    """The value, a fraction of long terms as a float. Raises OverflowError, or ValueError where it is no number."""
    if isinstance(value, int | Fraction):
        return _bounded_fraction(Fraction(value))
    if not isinstance(value, float):
        raise ValueError("the result is no real number")
    if not math.isfinite(value):
        raise OverflowError
    return value


def called(name: str, arguments: Sequence[Value]) -> Value:
    """What a function gives. Raises ValueError, OverflowError, or TypeError for arguments of a wrong number or kind."""
    try:
        made = FUNCTIONS[name](*arguments)
    except ValueError as error:
        raise ValueError(f"{name} is not defined there") from error
    return bounded(made)


def equal(left: Value, right: Value) -> bool:
    """Whether two numbers are one; of floats, as far as floats can tell."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    return math.isclose(left, right, rel_tol=CLOSE)


def power(base: Value, exponent: Value) -> Value | complex:
    """Exact where the exponent is whole, or the root is."""
    if isinstance(base, float) or isinstance(exponent, float):
        return _float_power(base, exponent)
    if exponent.denominator == 1:
        return _whole_power(base, exponent.numerator)
    root = _root(base, exponent.denominator)
    return _float_power(base, exponent) if root is None else _whole_power(root, exponent.numerator)


def written(value: Value) -> str:
    """An exact number in full, unless its decimals are too many or never end; any other with ``about`` before it."""
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        places = next((n for n in range(1, MOST_WRITTEN_PLACES + 1) if 10**n % value.denominator == 0), None)
        if places is not None:
            return _decimal(value, places)
    return f"about {float(value) or 0.0:.15g}"


TOO_SMALL = "a number is too close to zero"


def _bounded_fraction(value: Fraction) -> Value:
    if abs(value.numerator) >= value.denominator << MOST_BITS:
        raise OverflowError
    if max(value.numerator.bit_length(), value.denominator.bit_length()) <= MOST_BITS:
        return value
    return _not_zero(float(value))


def _not_zero(value: float) -> float:
    """What became zero by being too small would make a false statement true."""
    if not value:
        raise ValueError(TOO_SMALL)
    return value


def _decimal(value: Fraction, places: int) -> str:
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _whole_power(base: Fraction, exponent: int) -> Value | complex:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) in (0, 1) or bits * abs(exponent) <= 4 * MOST_BITS:
        return bounded(base**exponent)
    return _float_power(base, exponent)


def _float_power(base: Value, exponent: Value) -> float | complex:
    made: float | complex = float(base) ** float(exponent)
    return made if not base or isinstance(made, complex) else _not_zero(made)


def _root(number: Fraction, degree: int) -> Fraction | None:
    """The root of a number that is not negative, where it is a fraction."""
    if number < 0:
        return None
    above, below = (_whole_root(term, degree) for term in (number.numerator, number.denominator))
    return None if above is None or below is None else Fraction(above, below)


def _whole_root(number: int, degree: int) -> int | None:
    if degree >= MOST_BITS and number > 1:
        return None
    near = math.isqrt(number) if degree == 2 else round(number ** (1 / degree))
    return near if near**degree == number else None


def _sqrt(number: Value) -> Value:
    root = _root(number, 2) if isinstance(number, Fraction) else None
    return math.sqrt(number) if root is None else root


def _log(number: Value, base: Value = math.e) -> Value:
    if number == 1 and base > 0 and base != 1:
        return Fraction(0)
    made = math.log(number) if base == math.e else math.log(number, base)
    if isinstance(number, Fraction) and isinstance(base, Fraction) and abs(made) <= MOST_BITS:
        whole = round(made)
        if _whole_power(base, whole) == number:
            return Fraction(whole)
    return made


def _smooth(function: Callable[[Value], float]) -> Function:
    """A function that is exact at zero, and nearly nowhere else."""

    def exact_at_zero(number: Value) -> Value:
        made = function(number)
        if abs(made) < 1e-15 and abs(float(number)) > 1:  # as near to zero as pi is to its float
            made = 0.0
        return Fraction(made) if number == 0 and isinstance(number, Fraction) else made

    return exact_at_zero


def _factorial(number: Value) -> int:
    if number > 200:
        raise OverflowError
    return math.factorial(_whole(number))


def _round(number: Value, places: Value = Fraction(0)) -> Value:
    """Half away from zero, as at school."""
    digits = _whole(places)
    if abs(digits) > MOST_PLACES:
        raise OverflowError
    scale = Fraction(10) ** digits
    exact = number if isinstance(number, Fraction) else Fraction(f"{number:.15g}")
    rounded = math.floor(abs(exact) * scale + Fraction(1, 2)) / scale
    return -rounded if exact < 0 else rounded


def _gcd(*numbers: Value) -> int:
    return math.gcd(*map(_whole, numbers))


def _least(*numbers: Value) -> Value:
    return min(numbers)


def _most(*numbers: Value) -> Value:
    return max(numbers)


def _whole(number: Value) -> int:
    if isinstance(number, float) or number.denominator != 1:
        raise TypeError
    return number.numerator


COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "Lt": lambda left, right: left < right and not equal(left, right),
    "LtE": lambda left, right: left < right or equal(left, right),
    "Gt": lambda left, right: left > right and not equal(left, right),
    "GtE": lambda left, right: left > right or equal(left, right),
    "Eq": equal,
    "NotEq": lambda left, right: not equal(left, right),
}
OPERATORS: dict[str, Callable[..., Value | int | complex]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
    "Pow": power,
}
CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS: dict[str, Function] = {
    "sqrt": _sqrt,
    "log": _log,
    "exp": _smooth(math.exp),
    "sin": _smooth(math.sin),
    "cos": _smooth(math.cos),
    "tan": _smooth(math.tan),
    "abs": abs,
    "round": _round,
    "min": _least,
    "max": _most,
    "factorial": _factorial,
    "gcd": _gcd,
}
