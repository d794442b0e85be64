"""Judges without a model: their recipes, what they are asked about, and verdict cases from files."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from guerdon.domain.chat import Generation
from guerdon.domain.samples import Sample, assistant, user
from guerdon.scorers.judges.common import Judging
from guerdon.scorers.judges.grm import Grm, GrmSettings
from guerdon.scorers.judges.principle import Principle, PrincipleSettings
from guerdon.scorers.judges.prompt import Prompt
from guerdon.scorers.judges.recipe import Unparsable
from guerdon.scorers.judges.rubric import Rubric, RubricSettings
from judge_engines import Always, Scripted

VERDICTS = Path(__file__).parent / "verdicts"
FREE, HELD = Judging(structured=False), Judging()


def cases(recipe):
    found = json.loads((VERDICTS / f"{recipe}.json").read_text(encoding="utf-8"))
    assert len({case["name"] for case in found}) == len(found) >= 60
    return [pytest.param(case, id=case["name"]) for case in found]


def grm(judging=FREE):
    return Grm(GrmSettings(), judging, Prompt.shipped("grm.v1"))


def principle(judging=FREE, **given):
    return Principle(PrincipleSettings(**given), judging, Prompt.shipped("principle.v1"))


def rubric(form=None, judging=FREE, source=None):
    return Rubric(form or RubricSettings(), judging, Prompt(source, "mine") if source else Prompt.shipped("rubric.v1"))


def sample(count, **more):
    return Sample(
        messages=user("What is the capital of Australia?"),
        responses=tuple(assistant(f"It is response {index}.") for index in range(count)),
        **more,
    )


def said(case):
    return Generation(text=case["text"], finish=case.get("finish", "stop"))


def vote(recipe, asked, ask, seed=7):
    return asyncio.run(recipe.vote(asked, seed, ask))


def text_of(chat):
    return "\n".join(message.content for message in chat.messages)


def order_of(chat):
    """The indices of a sample's responses in the order in which a chat shows them."""
    return [int(index) for index in re.findall(r"It is response (\d+)\.", text_of(chat))]


def reason_of(recipe, asked, case):
    with pytest.raises(Unparsable) as problem:
        vote(recipe, asked, Always(case["text"]) if "finish" not in case else Scripted([said(case)]))
    return str(problem.value)


def longest_echo(text, reason):
    """Length of the longest piece of the model's text in a reason."""
    return max(
        (
            end - start
            for start in range(len(reason))
            for end in range(start, len(reason) + 1)
            if reason[start:end] in text
        ),
        default=0,
    )


def chat_with(recipe, asked, seed):
    model = Always("nothing")
    with pytest.raises(Unparsable):
        vote(recipe, asked, model, seed)
    return model.chats[0]
