"""The tools of a judge, by the names that a configuration gives them."""

from collections.abc import Callable, Mapping

from pydantic import Field

from guerdon.domain.errors import NotServable
from guerdon.domain.strict import Strict, nearest
from guerdon.scorers.judges.tools_calculator import calculate
from guerdon.scorers.judges.tools_calendar import look_up
from guerdon.scorers.judges.tools_code import Isolation, Snippets
from guerdon.scorers.judges.tools_contract import Tool, ToolFailed, Use
from guerdon.scorers.judges.tools_plugin import load_plugin

CALCULATOR = """\
The value of one expression: numbers, + - * / // % **, parentheses, one comparison, and sqrt log exp sin cos tan abs \
round min max factorial gcd pi e. Exact, or marked `about`; round(2.5) is 3: halves go away from zero. Input: the \
expression alone, such as `(3 + 4) * 2 ** 5`."""
CALENDAR = """\
Dates. Input: `weekday 2024-02-29` (which day it is), `add 2024-01-31 30` (the date so many days later; -30 for \
earlier), or `between 2024-01-01 2024-12-31` (how many days from the first to the second)."""
CODE = """\
Runs a Python program that has the standard library alone, no network and no input, and answers with what it prints. \
Input: the program."""
OWN = frozenset({"calculator", "calendar", "code"})


class ToolSpec(Strict):
    """A tool in the configuration: one of ours, or a `plugin`."""

    plugin: str | None = Field(None, description="package.module:function, which takes a text and gives one")
    description: str = Field("", max_length=2000, description="what the model is told of a plug-in, and of its input")
    version: str = Field("", max_length=100, description="of a plug-in: to change when its answers do")
    enabled: bool = Field(False, description="of `code`: whether to run what the model writes")
    isolation: Isolation = Field("namespaces", description="of `code`: what keeps a snippet from the machine")


def fault_of(name: str, spec: ToolSpec) -> str | None:
    """What is wrong with a tool's settings."""
    allowed = {"code": {"enabled", "isolation"}, "calculator": set(), "calendar": set()}.get(
        name, {"plugin", "description", "version"}
    )
    if strange := sorted(spec.model_fields_set - allowed):
        return f"`{strange[0]}` is no setting of {name if name in OWN else 'a plug-in'}"
    if name == "code" and "enabled" not in spec.model_fields_set:
        return "it runs what a model writes: say `enabled: true`, or leave it out"
    if name not in OWN and spec.plugin is None:
        near = nearest(name, OWN)
        meant = f"did you mean `{near}`?" if near else f"ours are {', '.join(sorted(OWN))}."
        return f"there is no such tool; {meant} Another one names its `plugin`"
    return None


def load_tools(specs: Mapping[str, ToolSpec]) -> dict[str, Tool]:
    """The tools, ready to be used. Raises NotServable that names the tool."""
    tools = {}
    for name, spec in specs.items():
        if name == "code" and not spec.enabled:
            continue
        try:
            tools[name] = _tool(name, spec)
        except NotServable as error:
            raise NotServable(f"tools.{name}: {error}") from error
    return tools


def _tool(name: str, spec: ToolSpec) -> Tool:
    if spec.plugin is not None:
        return _plugin(name, spec, spec.plugin)
    if name == "code":
        snippets = Snippets(spec.isolation)
        snippets.check()
        return Tool(name=name, description=CODE, version="code/1", use=snippets.run, repeatable=False)
    if name == "calculator":
        return Tool(name=name, description=CALCULATOR, version="calculator/2", use=_at_once(calculate), repeatable=True)
    return Tool(name=name, description=CALENDAR, version="calendar/1", use=_at_once(look_up), repeatable=True)


def _plugin(name: str, spec: ToolSpec, path: str) -> Tool:
    use, own = load_plugin(path)
    description = spec.description or own
    if not description:
        raise NotServable("the model has to be told what it does: give a `description`, or the function a docstring")
    return Tool(name=name, description=description, version=f"{path} {spec.version}", use=use, repeatable=False)


def _at_once(function: Callable[[str], str]) -> Use:
    """A pure function as a tool; what it refuses is told."""

    async def use(text: str, seconds: float) -> str:
        try:
            return function(text)
        except ValueError as error:
            raise ToolFailed(str(error)) from error

    return use
