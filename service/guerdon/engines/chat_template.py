"""Renders a model's chat template, sandboxed."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from guerdon.domain.errors import Invalid, NotServable
from guerdon.domain.samples import Message


class ChatTemplate:
    """A chat template as transformers' tokenizers carry it: messages in, text out.

    ``tokens`` are the special tokens that a template may name (``bos_token``, ``eos_token``, ...).
    """

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self.source = source
        self._tokens = dict(tokens)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise NotServable(f"the chat template does not parse: {error.message} (line {error.lineno})") from error

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model was trained to read it, without a generation prompt.

        Raises Invalid where the template refuses the conversation, as some refuse a system turn.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            return self._template.render(
                messages=turns, tools=None, documents=None, add_generation_prompt=False, **self._tokens
            )
        except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Invalid(f"the model's chat template refuses this conversation: {error}") from error


class _Generation(jinja2.ext.Extension):
    """Lets ``{% generation %}`` blocks, which only mark training targets, render as their content."""

    tags = {"generation"}  # noqa: RUF012 - jinja declares it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> jinja2.Environment:
    """The environment that templates are written for: blocks trimmed, loop controls, a few extra names."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


_now: Callable[[str], str] = lambda form: datetime.now().strftime(form)  # noqa: E731 - templates want local time


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})
