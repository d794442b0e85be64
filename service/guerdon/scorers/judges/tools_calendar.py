"""The calendar for a judge: which day a date is, and how far apart two are."""

import re
from datetime import date, timedelta

_DATE = r"(\d{4}-\d{2}-\d{2})"
_WEEKDAY = re.compile(rf"weekday {_DATE}", re.ASCII)
_ADD = re.compile(rf"add {_DATE} ([+-]?\d{{1,7}})(?: days?)?", re.ASCII)
_BETWEEN = re.compile(rf"between {_DATE}(?: and)? {_DATE}", re.ASCII)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def look_up(text: str) -> str:
    """What `weekday DATE`, `add DATE DAYS` or `between DATE DATE` asks. Raises ValueError that says what is wrong."""
    asked = " ".join(text[:100].lower().replace(",", " ").split())
    if found := _WEEKDAY.fullmatch(asked):
        return _DAYS[_day(found[1]).weekday()]
    if found := _ADD.fullmatch(asked):
        return _written(_later(_day(found[1]), int(found[2])))
    if found := _BETWEEN.fullmatch(asked):
        return f"{(_day(found[2]) - _day(found[1])).days} days"
    raise ValueError("ask `weekday DATE`, `add DATE DAYS` or `between DATE DATE`, with dates such as 2024-02-29")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"there is no day {text}") from error


def _later(day: date, days: int) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError as error:
        raise ValueError("the calendar has the years 1 to 9999") from error


def _written(day: date) -> str:
    return f"{day.isoformat()} ({_DAYS[day.weekday()]})"
