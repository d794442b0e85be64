"""A judge that may use tools before it gives its verdict."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from guerdon.domain.samples import Message, Sample
from guerdon.domain.strict import Strict
from guerdon.scorers.judges.asking import chat_of, written
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.fencing import fenced
from guerdon.scorers.judges.json_verdict import shown
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Ask, Recipe, Unparsable, Vote
from guerdon.scorers.judges.tool_steps import FINISHES, Range, Step, Verdict, read_step, sendable, spoken
from guerdon.scorers.judges.tools import ToolSpec, fault_of, load_tools
from guerdon.scorers.judges.tools_contract import ToolFailed

MOST_OBSERVED = 2000
"""Characters of a tool's answer that the model is shown."""


class ToolSettings(Strict):
    """What a judge with tools may do."""

    max_calls: int = Field(3, ge=0, le=16, description="calls of tools before the verdict")
    range: tuple[float, float] = Field((1, 10), description="the lowest and the highest score")
    tools: dict[str, ToolSpec] = Field(
        {"calculator": ToolSpec(), "calendar": ToolSpec()}, description="by the names that the model calls them by"
    )
    tool_timeout_s: float = Field(5, gt=0, le=60, description="of one call")

    @field_validator("tools", mode="before")
    @classmethod
    def _is_a_map(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not all(isinstance(spec, Mapping | ToolSpec) for spec in given.values()):
            raise ValueError("a map from each tool's name to its settings is needed, such as {calculator: {}}")
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range: {low:g} is not below {high:g}")
        for name, spec in self.tools.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or name in FINISHES:
                raise ValueError(f"tools: `{name[:40]}` cannot be a tool's name")
            if fault := fault_of(name, spec):
                raise ValueError(f"tools.{name}: {fault}")
        return self


@dataclass(slots=True)
class _Course:
    """How a vote has gone so far. The conversation only grows, so that its steps share their prefix."""

    messages: tuple[Message, ...]
    seeds: random.Random
    trace: list[dict[str, str]] = field(default_factory=list)
    failures: int = 0

    def goes_on(self, step: str, then: str) -> None:
        """The model took a step, and is told something."""
        self.messages += (Message("assistant", fenced(step)), Message("user", then))


class ToolJudge(Recipe):
    """Scores one response at a time, after calls of tools that the model asks for."""

    uses = frozenset({"reference"})
    set_wise = False
    least = 1

    def __init__(self, settings: ToolSettings, judging: Judging, prompt: Prompt) -> None:
        """Raises NotServable where a tool cannot be had."""
        self._settings, self._judging, self._prompt = settings, judging, prompt
        self._tools = load_tools(settings.tools)
        self._calls = settings.max_calls if self._tools else 0
        self._range = Range(low=settings.range[0], high=settings.range[1])
        self.floor = self._range.low
        self._step_schema, self._verdict_schema = _schemas([*self._tools, FINISHES[0]], self._range, judging)

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that changes its verdicts, but for what a tool that is not repeatable answers."""
        tools = [f"{tool.name}={tool.version}: {tool.description}" for tool in self._tools.values()]
        own = self._settings.model_dump_json(include=set(ToolSettings.model_fields))
        return ("tool/2", self._prompt.source, own, self._judging.model_dump_json(), *tools)

    @property
    def cacheable(self) -> bool:
        """Whether the same question has the same verdict: not where a tool may answer otherwise the next time."""
        return all(tool.repeatable for tool in self._tools.values())

    async def vote(self, sample: Sample, seed: int, ask: Ask) -> Vote:
        """A verdict after at most so many calls. Raises Unparsable, or ServiceError."""
        course = _Course(self._prompt.turns(self._values(sample)), random.Random(seed))
        while len(course.trace) < self._calls:
            step = await self._said(course, ask, self._step_schema)
            if isinstance(step, Verdict):
                return _vote(step, course)
            if step.action in FINISHES:
                course.goes_on(self._written(step), "Give your verdict now.")
                break
            await self._call(step, course)
        verdict = await self._said(course, ask, self._verdict_schema)
        if isinstance(verdict, Step):
            wanted = "finishes" if verdict.action in FINISHES else "asks for another call"
            raise Unparsable(f"it {wanted} where its verdict was due")
        return _vote(verdict, course)

    def _values(self, sample: Sample) -> Mapping[str, Any]:
        (response,) = sample.responses
        return {
            "tools": [{"name": tool.name, "description": tool.description} for tool in self._tools.values()],
            "calls": self._calls,
            "structured": self._judging.structured,
            "low": f"{self._range.low:g}",
            "high": f"{self._range.high:g}",
            "conversation": written(sample.messages),
            "reference": None if sample.reference is None else fenced(sample.reference),
            "response": written(response),
        }

    async def _said(self, course: _Course, ask: Ask, schema: str) -> Step | Verdict:
        chat = chat_of(course.messages, self._judging, course.seeds.getrandbits(31), schema)
        answer = await ask(chat if chat.schema else replace(chat, stop=("\nObservation:",)))
        return read_step(spoken(answer.text), self._range, cut=answer.finish == "length")

    async def _call(self, step: Step, course: _Course) -> None:
        """Use the tool that the model asks for, and tell it what came of it. A name that no tool has counts, too."""
        try:
            observed = _shortened(await self._used(step))
        except ToolFailed as error:
            course.failures += 1
            observed = _shortened(str(error))
        most = self._judging.rationale_chars
        tried = {"thought": step.thought[:most], "action": step.action[:80], "input": step.input[:most]}
        course.trace.append({**tried, "observation": observed})
        course.goes_on(self._written(step), _told(observed, self._calls - len(course.trace)))

    async def _used(self, step: Step) -> str:
        tool = self._tools.get(step.action)
        if tool is None:
            raise ToolFailed(f"There is no tool {shown(step.action)}. The tools are: {', '.join(self._tools)}.")
        try:
            return await tool.use(step.input, self._settings.tool_timeout_s)
        except ToolFailed as error:
            raise ToolFailed(f"The tool failed: {error}.") from error

    def _written(self, step: Step) -> str:
        """A step in its canonical form: without whatever else the model wrote."""
        if self._judging.structured:
            return json.dumps({"thought": step.thought, "action": step.action, "input": step.input}, ensure_ascii=False)
        given = f"\n```\n{step.input}\n```" if "\n" in step.input else f" {step.input}"
        return f"Thought: {step.thought}\nAction: {step.action}\nAction Input:{given}"


def _vote(verdict: Verdict, course: _Course) -> Vote:
    more = {"trace": course.trace, "calls": len(course.trace), "tool_errors": course.failures}
    return Vote(scores=(verdict.score,), rationale=verdict.rationale, more=more)


def _shortened(text: str) -> str:
    text = sendable(text)
    return text if len(text) <= MOST_OBSERVED else f"{text[: MOST_OBSERVED - 20]} [the rest is cut]"


def _told(observed: str, left: int) -> str:
    calls = f"{left} call{'' if left == 1 else 's'} left." if left else "No calls are left: give your verdict now."
    return f"Observation:\n[The Begin of Observation]\n{fenced(observed)}\n[The End of Observation]\n{calls}"


def _schemas(actions: Sequence[str], scores: Range, judging: Judging) -> tuple[str, str]:
    """What a step, and what a verdict is held to."""
    text = {"type": "string", "maxLength": judging.rationale_chars}
    score = {"type": "number", "minimum": scores.low, "maximum": scores.high}
    step = {"thought": text, "action": {"type": "string", "enum": list(actions)}, "input": text}
    return _object(step), _object({"rationale": text, "score": score})


def _object(properties: dict[str, Any]) -> str:
    required = list(properties)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return json.dumps(schema)
