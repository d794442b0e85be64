"""The tools of a judge: what they answer, and what they refuse."""

import asyncio
import datetime
import decimal
import fractions
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.domain.errors import NotServable
from guerdon.scorers.judges.tools import ToolSpec, load_tools
from guerdon.scorers.judges.tools_calculator import calculate
from guerdon.scorers.judges.tools_calendar import look_up
from guerdon.scorers.judges.tools_contract import ToolFailed
from guerdon.scorers.judges.tools_plugin import MOST_THREADS, load_plugin

DAYS = st.dates()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("17 * 23", "391"),
        ("(3 + 4) * 2 ** 5", "224"),
        ("2^10", "1024"),
        ("-2 ** 2", "-4"),
        ("7 // 2", "3"),
        ("-7 % 3", "2"),
        ("1 / 3", "about 0.333333333333333"),
        ("0.1 + 0.2", "0.3"),
        ("10 / 2", "5"),
        ("sqrt(2)", "about 1.4142135623731"),
        ("log(e)", "about 1"),
        ("log(8, 2)", "3"),
        ("exp(0)", "1"),
        ("round(sin(pi / 6), 6)", "0.5"),
        ("cos(0) + tan(0)", "1"),
        ("round(2.675, 1)", "2.7"),
        ("round(7.6)", "8"),
        ("abs(-3)", "3"),
        ("min(3, 1, 2) + max(3, 1, 2)", "4"),
        ("factorial(20)", "2432902008176640000"),
        ("gcd(84, 36, 120)", "12"),
        ("2 ** 200", str(2**200)),
        ("1 < 2 <= 2", "true"),
        ("3 * 4 == 13", "false"),
        ("6 × 7 − 2", "40"),
        ("12 ÷ 5", "2.4"),
        ("2 ** -2", "0.25"),
        ("1 ** 999999999999", "1"),
        ("(-1) ** 999999999999", "-1"),
        ("1e3 + 1", "1001"),
        ("  5  ", "5"),
        ("4.35 * 100 == 435", "true"),
        ("4.35 * 100", "435"),
        ("1.1 * 1.1 == 1.21", "true"),
        ("0.1 * 3 == 0.3", "true"),
        ("0.07 * 100 == 7", "true"),
        ("0.1 + 0.2 != 0.3", "false"),
        ("0.1 + 0.2 > 0.3", "false"),
        ("0.30000000000000001 > 0.3", "true"),
        ("123456789.123456 * 1000", "123456789123.456"),
        ("12345678901234567890 / 3", "4115226300411522630"),
        ("-0.05", "-0.05"),
        ("1_000.5e-1", "100.05"),
        ("1e5", "100000"),
        ("1e-30", "0." + "0" * 29 + "1"),
        ("1e-31", "about 1e-31"),
        ("1.5 // 0.1", "15"),
        ("-1.5 % 0.4", "0.1"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(2.675, 2)", "2.68"),
        ("round(1250, -2)", "1300"),
        ("round(sin(pi / 6))", "1"),
        ("1.0001 ** 10000 < e", "true"),
        ("1.05 ** 10", "1.62889462677744140625"),
        ("sqrt(1.21)", "1.1"),
        ("sqrt(10 ** 200) == 10 ** 100", "true"),
        ("sqrt(2) ** 2 == 2", "true"),
        ("sqrt(2) ** 2 >= 2", "true"),
        ("sqrt(2) ** 2 > 2", "false"),
        ("sqrt(2) * sqrt(3) == sqrt(6)", "true"),
        ("sqrt(2) == 1.41421356", "false"),
        ("27 ** (1 / 3)", "3"),
        ("(8 / 27) ** (2 / 3) == 4 / 9", "true"),
        ("log(0.001, 10)", "-3"),
        ("log(125, 5) == 3", "true"),
        ("sin(pi) == 0", "true"),
        ("sin(1e-20) == 0", "false"),
        ("factorial(3.0)", "6"),
        ("2 ** (1 / 10 ** 300) ** (1 / 10 ** 300)", "about 2"),
    ],
)
def test_the_calculator_calculates(asked, answer):
    """As mathematicians do: exactly, but for roots, logarithms and angles, of which it says `about`."""
    assert calculate(asked) == answer


@given(numbers=st.lists(st.integers(-1000, 1000), min_size=2, max_size=6), signs=st.lists(st.sampled_from("+-*")))
def test_the_calculator_agrees_with_exact_arithmetic(numbers, signs):
    """Worked out from left to right, term by term, as fractions."""
    signs = (signs * 6 + ["+"] * 6)[: len(numbers) - 1]
    terms = [fractions.Fraction(numbers[0])]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            terms[-1] *= number
        else:
            terms.append(fractions.Fraction(number if sign == "+" else -number))
    asked = str(numbers[0]) + "".join(f" {s} ({n})" for s, n in zip(signs, numbers[1:], strict=True))
    assert calculate(asked) == str(sum(terms))


decimals = st.decimals(-1000, 1000, places=3)


@given(left=decimals, right=decimals, sign=st.sampled_from("+-*"))
def test_the_calculator_is_exact_where_decimals_end(left, right, sign):
    """As decimal arithmetic is: the answer is the whole result, and to say that it is, is true."""
    exact = {"+": left + right, "-": left - right, "*": left * right}[sign]
    asked = f"({left}) {sign} ({right})"
    assert decimal.Decimal(calculate(asked)) == exact
    assert calculate(f"{asked} == {exact}") == "true"
    assert calculate(f"{asked} < {exact + decimal.Decimal('0.000001')}") == "true"
    rounded = exact.quantize(decimal.Decimal("0.1"), decimal.ROUND_HALF_UP)
    assert decimal.Decimal(calculate(f"round({asked}, 1)")) == rounded


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("9**9**9", "too large"),
        ("9**9**9**9**9", "too large"),
        ("(9**300)**300", "too large"),
        ("2**99999999999", "too large"),
        ("factorial(10**9)", "too large"),
        ("factorial(factorial(100))", "too large"),
        ("1e308 * 10", "too large"),
        ("exp(10**6)", "too large"),
        ("9" * 299 + "*" + "9", "longer than"),
        ("*".join(["9" * 90] * 3) + "**9", "too large"),
        ("round(1.5, 10**9)", "too large"),
        ("round(5, -10**9)", "too large"),
        ("1/0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("2 ** -2000", "too close to zero"),
        ("1e-99999999999", "too close to zero"),
        ("1e99999999999", "too large"),
        ("0.5 ** 99999999999", "too close to zero"),
        ("1.5 ** 99999999999", "too large"),
        ("(1 / 3) ** 9999 == 0", "too close to zero"),
        ("sqrt(-1)", "sqrt is not defined there"),
        ("log(0)", "log is not defined there"),
        ("factorial(-1)", "factorial is not defined there"),
        ("factorial(1.5)", "wrong arguments"),
        ("gcd(1.5, 2)", "wrong arguments"),
        ("sqrt()", "wrong arguments"),
        ("min()", "min is not defined there"),
        ("(-8) ** 0.5", "no real number"),
        ("", "no arithmetic expression"),
        ("2 +", "no arithmetic expression"),
        ("15% of 80", "no arithmetic expression"),
        ("x = 3", "no arithmetic expression"),
        ("2 + 2\n3", "no arithmetic expression"),
        ("(" * 150 + "1" + ")" * 150, "longer than"),
        ("(" * 149 + "1" + ")" * 149, ""),
        ("-" * 299 + "1", ""),
        ("\x00", "no arithmetic expression"),
        ("1 if 1 else 2", "only numbers"),
        ("[1][0]", "only numbers"),
        ("'a' * 10", "only numbers"),
        ("True + 1", "only numbers"),
        ("3j", "only numbers"),
        ("(1 < 2) + 1", "only numbers"),
        ("1 << 99", "only numbers"),
        ("1 in 2", "no such comparison"),
        ("x", "only numbers"),
        ("pow(9, 9)", "only numbers"),
        ("eval('1')", "only numbers"),
        ("__import__('os').system('true')", "only numbers"),
        ("(1).__class__", "only numbers"),
        ("(lambda: 1)()", "only numbers"),
        ("max(*(1, 2))", "only numbers"),
        ("round(number=1)", "only numbers"),
        ("1,000 + 1", "only numbers"),
    ],
)
def test_the_calculator_refuses_what_is_no_arithmetic_or_too_much(asked, why):
    """At once: none of these hangs, and none runs a program. (Two that are only deep may as well be worked out.)"""
    if why:
        with pytest.raises(ValueError, match=why):
            calculate(asked)
    else:
        assert calculate(asked) in ("1", "-1")


@given(text=st.text(st.sampled_from("0123456789.*+-/%() ,efactorialgcdmxsqtlogpi<>="), max_size=60))
def test_the_calculator_answers_or_refuses(text):
    """Whatever it is asked; a result is short."""
    try:
        assert len(calculate(text)) < 400
    except ValueError as error:
        assert 0 < len(str(error)) < 200


@given(day=DAYS, days=st.integers(-400_000, 400_000), other=DAYS)
def test_the_calendar_agrees_with_the_calendar(day, days, other):
    """The weekday by Gauss's rule on day numbers, the others by day numbers."""
    names = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    year = f"{day.year - 1:04d}"
    gauss = (1 + 5 * (int(year) % 4) + 4 * (int(year) % 100) + 6 * (int(year) % 400)) % 7
    assert look_up(f"weekday {day}") == names[(gauss + day.timetuple().tm_yday - 1) % 7]
    assert look_up(f"between {day} {other}") == f"{other.toordinal() - day.toordinal()} days"
    later = day.toordinal() + days
    if 1 <= later <= datetime.date.max.toordinal():
        assert look_up(f"add {day} {days}").startswith(str(datetime.date.fromordinal(later)))
    else:
        with pytest.raises(ValueError, match="years 1 to 9999"):
            look_up(f"add {day} {days}")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("weekday 2024-02-29", "Thursday"),
        ("Weekday  2000-01-01 ", "Saturday"),
        ("add 2024-01-31 30", "2024-03-01 (Friday)"),
        ("add 2024-03-01 -1 day", "2024-02-29 (Thursday)"),
        ("add 2023-12-31 +1", "2024-01-01 (Monday)"),
        ("between 2024-01-01 and 2024-12-31", "365 days"),
        ("between 2024-12-31, 2024-01-01", "-365 days"),
    ],
)
def test_the_calendar_reads_its_three_questions(asked, answer):
    """And what models write around them."""
    assert look_up(asked) == answer


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("weekday 2023-02-29", "there is no day 2023-02-29"),
        ("weekday 2024-13-01", "there is no day"),
        ("add 9999-12-31 1", "years 1 to 9999"),
        ("add 2024-01-01 99999999999", "ask `weekday DATE`"),
        ("weekday 29.02.2024", "ask `weekday DATE`"),
        ("weekday 20240229", "ask `weekday DATE`"),
        ("what day is it?", "ask `weekday DATE`"),
        ("", "ask `weekday DATE`"),
    ],
)
def test_the_calendar_says_what_it_can_be_asked(asked, why):
    """And which day there is not."""
    with pytest.raises(ValueError, match=why):
        look_up(asked)


def boom(text):
    """Fails."""
    raise RuntimeError("no index")


def number(text):
    """Gives no text."""
    return 5


def leave(text):
    """Tries to end the service."""
    sys.exit(3)


async def shout(text):
    """Says it louder."""
    return text.upper()


class Shouting:
    """Shouts."""

    async def __call__(self, text):
        return text.upper()


shouting = Shouting()


async def never(text):
    """Never answers."""
    await asyncio.Event().wait()


async def own_timeout(text):
    """Has a timeout of its own."""
    raise TimeoutError("upstream")


def undescribed(text):
    return text


def no_text():
    """Takes none."""
    return ""


let_go = threading.Event()


def hang(text):
    """Hangs until it is let go."""
    let_go.wait()
    return "late"


not_a_function = 5


async def test_a_plug_in_is_used_as_it_is():
    """An async function, or one that blocks, on a thread."""
    tools = load_tools(
        {
            "shout": ToolSpec(plugin="test_tools:shout"),
            "own": ToolSpec(plugin="test_tools:undescribed", description="Echoes."),
        }
    )
    assert await tools["shout"].use("hi", 5) == "HI" and tools["shout"].description == "Says it louder."
    assert await tools["own"].use("hi", 5) == "hi" and tools["own"].description == "Echoes."
    assert await load_plugin("test_tools:shouting")[0]("hi", 5) == "HI"
    assert not any(tool.repeatable for tool in tools.values())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("boom", "RuntimeError: no index"),
        ("number", "it gave no text but int"),
        ("leave", "SystemExit: 3"),
        ("never", "it took longer than 0.05 s"),
        ("own_timeout", "TimeoutError: upstream"),
    ],
)
async def test_a_plug_in_that_fails_is_a_tool_that_failed(name, why):
    """Whatever it raises, and it may not end the service."""
    use, _ = load_plugin(f"test_tools:{name}")
    with pytest.raises(ToolFailed, match=why):
        await use("x", 0.05)


async def test_plug_ins_that_hang_are_counted():
    """A thread cannot be stopped; so many may hang, and no more are begun."""
    use, _ = load_plugin("test_tools:hang")
    let_go.clear()
    for _ in range(MOST_THREADS):
        with pytest.raises(ToolFailed, match="took longer"):
            await use("x", 0.001)
    with pytest.raises(ToolFailed, match="still running"):
        await use("x", 5)
    let_go.set()
    answer = None
    while answer is None:
        try:
            answer = await use("x", 60)
        except ToolFailed:
            await asyncio.sleep(0.01)
    assert answer == "late"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("test_tools", "not of the form"),
        (":f", "not of the form"),
        ("test_tools:", "not of the form"),
        ("no_such_package.search:search", "cannot be imported: ModuleNotFoundError"),
        ("broken_plugin:search", "cannot be imported: ZeroDivisionError"),
        ("test_tools:nothing", "has no function `nothing`"),
        ("test_tools:not_a_function", "has no function `not_a_function`"),
        ("test_tools:no_text", "cannot be called with one text"),
        ("test_tools:undescribed", "give a `description`"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused(path, why, tmp_path, monkeypatch):
    """When the service is planned, by the tool's name."""
    (tmp_path / "broken_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NotServable, match=rf"tools\.search: .*{why}"):
        load_tools({"search": ToolSpec(plugin=path)})
