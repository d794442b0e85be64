"""Arithmetic for a judge: every expression that is taken is computed at once, however large it claims to be."""

import ast
import math
import operator
from collections.abc import Callable, Sequence

MOST_CHARACTERS = 300
MOST_BITS = 1024
"""Of a whole number; so every one also fits a float."""
MOST_PLACES = 300

Value = int | float
_Function = Callable[..., Value]


def calculate(text: str) -> str:
    """The value of an expression, or true or false of a comparison. Raises ValueError that says what is wrong."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"the expression is longer than {MOST_CHARACTERS} characters")
    try:
        tree = ast.parse(_ascii(text).strip(), mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("this is no arithmetic expression") from error
    try:
        return _written(_truth(tree.body) if isinstance(tree.body, ast.Compare) else _value(tree.body))
    except (ZeroDivisionError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(_WHY[type(error)]) from error


_WHY = {
    ZeroDivisionError: "division by zero",
    OverflowError: "a number is too large",
    TypeError: "a function has the wrong arguments",
    RecursionError: "the expression is nested too deeply",
}


def _ascii(text: str) -> str:
    """Signs as mathematicians write them, in Python's spelling; ``^`` is a power."""
    return text.translate(_SIGNS).replace("^", "**")


_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "≤": "<=", "≥": ">=", "≠": "!=", "π": "pi"})  # noqa: RUF001


def _written(value: Value | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _truth(comparison: ast.Compare) -> bool:
    values = [_value(node) for node in (comparison.left, *comparison.comparators)]
    return all(
        _comparison(sign)(left, right)
        for sign, left, right in zip(comparison.ops, values[:-1], values[1:], strict=True)
    )


def _comparison(sign: ast.cmpop) -> Callable[[Value, Value], bool]:
    compare = _COMPARISONS.get(type(sign))
    if compare is None:
        raise ValueError("there is no such comparison here")
    return compare


def _value(node: ast.expr) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _bounded(_OPERATORS[type(sign)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_call(name, [_value(argument) for argument in arguments]))
    raise ValueError(f"only numbers, + - * / // % **, comparisons, and {', '.join((*_FUNCTIONS, *_CONSTANTS))}")


def _bounded(value: Value) -> Value:
    if isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise OverflowError
    elif not isinstance(value, float):
        raise ValueError("the result is no real number")
    elif not math.isfinite(value):
        raise OverflowError
    return value


def _call(name: str, arguments: Sequence[Value]) -> Value:
    try:
        return _FUNCTIONS[name](*arguments)
    except ValueError as error:
        raise ValueError(f"{name} is not defined there") from error


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 2 * MOST_BITS:
        base = float(base) if exponent < 0 else _small(base)
    power: Value = base**exponent
    return power


def _small(base: int) -> int:
    """A base whose powers stay small, whatever the exponent. Raises OverflowError for any other."""
    if abs(base) > 1:
        raise OverflowError
    return base


def _factorial(number: Value) -> int:
    if isinstance(number, int) and number > 200:
        raise OverflowError
    return math.factorial(_whole(number))


def _round(number: Value, places: Value = 0) -> Value:
    if abs(places) > MOST_PLACES:
        raise OverflowError
    return round(number, _whole(places)) if places else round(number)


def _gcd(*numbers: Value) -> int:
    return math.gcd(*map(_whole, numbers))


def _least(*numbers: Value) -> Value:
    return min(numbers)


def _most(*numbers: Value) -> Value:
    return max(numbers)


def _whole(number: Value) -> int:
    if isinstance(number, float):
        raise TypeError
    return number


_CONSTANTS: dict[str, Value] = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.operator], _Function] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, _Function] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "abs": abs,
    "round": _round,
    "min": _least,
    "max": _most,
    "factorial": _factorial,
    "gcd": _gcd,
}
