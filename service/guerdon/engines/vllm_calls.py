"""The bodies that a server is sent, and what its answers say. No I/O."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.domain.chat import Chat, Generation
from guerdon.domain.errors import EngineFailed
from guerdon.domain.queries import Floats
from guerdon.engines.vllm_settings import Dialect

Json = dict[str, Any]

IMPOSSIBLE = -9000.0
"""vLLM writes -9999 for a token that the answer's form does not allow."""


def chat_body(chat: Chat, *, model: str, dialect: Dialect, salt: str) -> Json:
    """Of ``/v1/chat/completions``. ``salt`` keeps callers of one tenant from sharing cached prefixes with another's."""
    body: Json = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in chat.messages],
        "max_tokens": chat.max_tokens,
        "temperature": chat.temperature,
        "top_p": chat.top_p,
    }
    if chat.seed is not None:
        body["seed"] = chat.seed
    if chat.stop:
        body["stop"] = list(chat.stop)
    if chat.alternatives:
        body |= {"logprobs": True, "top_logprobs": chat.alternatives}
    return body | _form(chat, dialect) | _salted(dialect, salt)


def _form(chat: Chat, dialect: Dialect) -> Json:
    """What holds the answer to its form, as the server says that."""
    if chat.schema:
        schema = json.loads(chat.schema)
        if dialect == "vllm":
            return {"structured_outputs": {"json": schema}}
        named = {"name": "verdict", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if chat.choices and dialect == "vllm":
        return {"structured_outputs": {"choice": list(chat.choices)}}
    if chat.choices and dialect == "sglang":
        return {"regex": f"({'|'.join(chat.choices)})"}
    return {}  # OpenAI's API has nothing for choices: the parser decides


def log_probabilities_body(token_ids: Sequence[int], *, model: str, salt: str) -> Json:
    """Of ``/v1/completions``: how probable each token is after those before it."""
    asked = {"prompt": list(token_ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    return {"model": model, **asked, **_salted("vllm", salt)}


def pooling_body(sequences: Sequence[Sequence[int]], *, model: str, per_token: bool, salt: str) -> Json:
    """Of ``/pooling``: the head's raw logits, of each sequence or of each of its tokens."""
    return {
        "model": model,
        "input": [list(ids) for ids in sequences],
        "task": "token_classify" if per_token else "classify",
        "use_activation": False,
        "add_special_tokens": False,
        **_salted("vllm", salt),
    }


def _salted(dialect: Dialect, salt: str) -> Json:
    return {"cache_salt": salt} if dialect == "vllm" else {}


def read_chat(answer: Mapping[str, Any]) -> Generation:
    """Raises EngineFailed for what is no chat completion."""
    try:
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        message = choice["message"]
        return Generation(
            text=str(message.get("content") or ""),
            reasoning=str(message.get("reasoning") or message.get("reasoning_content") or ""),
            finish="length" if choice.get("finish_reason") == "length" else "stop",
            first=_first_token(choice.get("logprobs")),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EngineFailed("the server's answer is no chat completion") from error


def _first_token(logprobs: Mapping[str, Any] | None) -> dict[str, float]:
    """Log-probabilities of the first token's alternatives; those of equal text are added up."""
    tokens = (logprobs or {}).get("content") or []
    found: dict[str, float] = {}
    for alternative in tokens[0]["top_logprobs"] if tokens else ():
        text, logprob = str(alternative["token"]), float(alternative["logprob"])
        if logprob > IMPOSSIBLE:
            found[text] = float(np.logaddexp(found.get(text, -math.inf), logprob))
    return found


def read_log_probabilities(answer: Mapping[str, Any], token_ids: Sequence[int]) -> list[float]:
    """Of each token but the first, in natural logarithms. Raises EngineFailed."""
    try:
        told = answer["choices"][0]["prompt_logprobs"]
        pairs = zip(token_ids[1:], told[1:], strict=True)
        return [float(alternatives[str(token)]["logprob"]) for token, alternatives in pairs]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineFailed("the server gave no log-probabilities of the prompt") from error


def read_pooling(answer: Mapping[str, Any], count: int) -> list[Floats]:
    """One array a sequence, [labels] or [tokens, labels]. Raises EngineFailed."""
    try:
        rows = sorted(answer["data"], key=lambda row: int(row["index"]))
        pooled = [np.asarray(row["data"], np.float32) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise EngineFailed("the server's answer holds no pooled outputs") from error
    if len(pooled) != count:
        raise EngineFailed(f"the server gave {len(pooled)} outputs for {count} sequences")
    return pooled


def computed_tokens(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens that were asked and written, and how many of them were computed; a cached prefix was not.

    Raises EngineFailed where the usage is none.
    """
    try:
        usage = answer.get("usage") or {}
        total = int(usage.get("total_tokens") or 0)
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    except (TypeError, ValueError, AttributeError) as error:
        raise EngineFailed("the server's answer tells no usage of tokens") from error
    return total, total - cached
