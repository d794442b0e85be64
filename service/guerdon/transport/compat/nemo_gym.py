"""NeMo-Gym's resources servers: /verify and /compare."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from guerdon.domain.errors import Invalid
from guerdon.domain.samples import Message, Sample, Turns, assistant, user
from guerdon.preferences import bradley_terry
from guerdon.transport.compat.lenient import MODEL, Lenient, Turn, turns_of
from guerdon.transport.compat.principle import with_principle
from guerdon.transport.dialect import Call, Dialect, Path, none_empty
from guerdon.transport.schemas import Role

RANKS = 6
"""From 1, the first is much better, to this, the second is."""


class ItemPart(Lenient):
    """A piece of what was said."""

    text: str | None = None
    refusal: str | None = None


class Item(Lenient):
    """A piece of a conversation, as OpenAI's Responses API has it; only messages are read, not reasoning or calls."""

    type: str = "message"
    role: Role = "assistant"
    content: str | list[ItemPart] | None = None

    @property
    def said(self) -> str:
        """The text of its content."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or part.refusal or "" for part in self.content or ())


class Output(Lenient):
    """A response."""

    output: list[Item]

    def turns(self, field: str) -> Turns:
        """The assistant's turn. Raises Invalid where nothing was said."""
        said = [item.said for item in self.output if item.type == "message"]
        if not said:
            raise Invalid(f"{field}.output: there is no message in it", field=f"{field}.output")
        return assistant("".join(said))


class Asked(Lenient):
    """What the policy was asked."""

    input: str | list[Item]
    instructions: str | None = None

    @property
    def turns(self) -> Turns:
        """The conversation."""
        system = () if self.instructions is None else (Message("system", self.instructions),)
        if isinstance(self.input, str):
            return (*system, *user(self.input))
        return (*system, *(Message(item.role, item.said) for item in self.input if item.type == "message"))


class VerifyRequest(Lenient):
    """A conversation and the policy's response; the body comes back, and in it the reward."""

    responses_create_params: Asked
    response: Output


class GymCompareRequest(Lenient):
    """A conversation and responses to it."""

    model: str | None = MODEL
    conversation_history: list[Turn]
    response_objs: list[Output]
    principle: str | None = None


class SeedRequest(Lenient):
    """Nothing that is needed: there are no sessions."""


async def _verify(call: Call, body: VerifyRequest) -> object:
    turns = body.responses_create_params.turns or user("")
    sample = Sample(messages=turns, responses=(body.response.turns("response"),))
    told = await call.rewards(None, [sample], lambda _: "response")
    assert isinstance(call.given, dict)
    return call.given | {"reward": told.values[0]}


async def _compare(call: Call, body: GymCompareRequest) -> object:
    none_empty(body.response_objs, "response_objs")
    name = "response_objs[{}]".format
    responses = tuple(one.turns(name(index)) for index, one in enumerate(body.response_objs))
    sample = Sample(messages=turns_of(body.conversation_history) or user(""), responses=responses)
    sample = with_principle(call, body.model, sample, body.principle)
    told = await call.rewards(body.model, [sample], name)
    return {"rewards": told.values, "comparison_results": _comparisons(told.values), "metrics": {}}


async def _seed(call: Call, body: SeedRequest) -> object:
    return {}


def _comparisons(rewards: Sequence[float]) -> list[dict[str, Any]]:
    """Each pair of responses, ranked 1 to 6 by how probably the second is the better."""
    better = bradley_terry(rewards)
    return [
        {
            "response_i": one,
            "response_j": other,
            "judge_idx": 0,
            "score_1": rewards[one],
            "score_2": rewards[other],
            "ranking": min(RANKS, 1 + int(RANKS * better[other, one])),
        }
        for one, other in combinations(range(len(rewards)), 2)
    ]


PATHS = (
    Path("/verify", "NeMo-Gym: the body with the reward of its response.", (Dialect(VerifyRequest, _verify),)),
    Path("/compare", "NeMo-Gym: rewards of responses, and how they compare.", (Dialect(GymCompareRequest, _compare),)),
    Path("/seed_session", "NeMo-Gym: begin a session; there is nothing to begin.", (Dialect(SeedRequest, _seed),)),
)
