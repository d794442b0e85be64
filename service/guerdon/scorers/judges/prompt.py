"""A judge's prompt: a file that users can read, and replace by their own."""

import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from guerdon.domain.errors import Invalid, NotServable
from guerdon.domain.samples import Message, Turns
from guerdon.domain.strict import nearest

_TURN = re.compile(r"^=== (system|user|assistant) ===\n", re.MULTILINE)


class Prompt:
    """Turns of a conversation, each a Jinja template under a line ``=== role ===``; what stands before is a comment."""

    def __init__(self, source: str, name: str) -> None:
        """Raises NotServable where the file is no prompt."""
        self.source, self.name = source, name
        parts = _TURN.split(source)[1:]
        if not parts:
            raise NotServable(f"{name}: a prompt has turns, each under a line such as `=== user ===`")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        try:
            self._turns = [
                (role, environment.from_string(text.strip("\n")))
                for role, text in zip(parts[::2], parts[1::2], strict=True)
            ]
        except jinja2.TemplateSyntaxError as error:
            raise NotServable(f"{name}: {error.message} (line {error.lineno} of the turn)") from error

    @classmethod
    def shipped(cls, name: str) -> Self:
        """One of the prompts beside this file, such as ``grm.v1``."""
        file = files("guerdon.scorers.judges") / "prompts" / f"{name}.jinja"
        return cls(file.read_text(encoding="utf-8"), name)

    @classmethod
    def read(cls, file: Path) -> Self:
        """A user's own. Raises NotServable."""
        try:
            return cls(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise NotServable(f"prompt: {file} cannot be read: {error}") from error

    def check(self, known: Collection[str], needed: Sequence[Collection[str]]) -> frozenset[str]:
        """Its blanks. Raises NotServable where one is not ``known``, or of a set that is ``needed`` there is none."""
        inner = _TURN.split(self.source, maxsplit=1)[2]
        found = jinja2.meta.find_undeclared_variables(ImmutableSandboxedEnvironment().parse(inner))
        for name in sorted(found - set(known)):
            near = nearest(name, known)
            hint = f"did you mean `{near}`?" if near else f"known: {', '.join(known)}"
            raise NotServable(f"{self.name}: unknown variable `{name}`; {hint}")
        for names in needed:
            if not found & set(names):
                raise NotServable(f"{self.name}: the prompt never shows `{'` or `'.join(sorted(names))}`")
        return frozenset(found)

    def turns(self, values: Mapping[str, Any]) -> Turns:
        """The conversation, its blanks filled in. Raises Invalid where the template cannot be filled with these."""
        try:
            return tuple(Message(role, template.render(values)) for role, template in self._turns)
        except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Invalid(f"the prompt {self.name} cannot be filled: {error}") from error
