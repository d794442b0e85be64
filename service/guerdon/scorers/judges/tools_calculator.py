"""Arithmetic for a judge: every expression that is taken is computed at once, however large it claims to be."""

import ast

from guerdon.scorers.judges.tools_arithmetic import (
    COMPARISONS,
    CONSTANTS,
    FUNCTIONS,
    OPERATORS,
    Value,
    bounded,
    called,
    literal,
    written,
)

MOST_CHARACTERS = 300


def calculate(text: str) -> str:
    """The value of an expression, or true or false of a comparison. Raises ValueError that says what is wrong."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"the expression is longer than {MOST_CHARACTERS} characters")
    source = _ascii(text).strip()
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("this is no arithmetic expression") from error
    try:
        return _answer(tree.body, source)
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


def _answer(node: ast.expr, source: str) -> str:
    if isinstance(node, ast.Compare):
        return str(_truth(node, source)).lower()
    return written(_value(node, source))


def _truth(comparison: ast.Compare, source: str) -> bool:
    values = [_value(node, source) for node in (comparison.left, *comparison.comparators)]
    signs = [type(sign).__name__ for sign in comparison.ops]
    if not COMPARISONS.keys() >= set(signs):
        raise ValueError("there is no such comparison here")
    return all(COMPARISONS[sign](left, right) for sign, left, right in zip(signs, values[:-1], values[1:], strict=True))


def _value(node: ast.expr, source: str) -> Value:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return bounded(number)
        case ast.Constant(value=float()):
            return literal(ast.get_source_segment(source, node) or "")
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, source)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, source)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign).__name__ in OPERATORS:
            return bounded(OPERATORS[type(sign).__name__](_value(left, source), _value(right, source)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return called(name, [_value(argument, source) for argument in arguments])
    raise ValueError(f"only numbers, + - * / // % **, comparisons, and {', '.join((*FUNCTIONS, *CONSTANTS))}")
