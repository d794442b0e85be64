"""NVIDIA NIM's reward models: chat completions that end with the assistant's turn."""

import time
from typing import Any

from guerdon.domain.errors import Invalid
from guerdon.transport.compat.lenient import MODEL, Lenient, OpenAiRefusal, Turn, conversation
from guerdon.transport.compat.vllm import usage
from guerdon.transport.dialect import Call, Dialect, Path


class ChatRequest(Lenient):
    """A conversation that ends with the response."""

    model: str | None = MODEL
    messages: list[Turn]
    stream: bool | None = None
    n: int | None = None


async def _completion(call: Call, body: ChatRequest) -> object:
    if body.stream or (body.n or 1) != 1:
        field = "stream" if body.stream else "n"
        raise Invalid(f"{field}: there is one reward, and it comes in one piece", field=field)
    told, outputs = await call.outputs(body.model, [conversation(body.messages, "messages")], lambda _: "messages")
    told_of: list[dict[str, Any]] = [
        {"token": name, "logprob": value, "bytes": list(name.encode()), "top_logprobs": []}
        for name, value in outputs[0].items()
    ]
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": ",".join(f"{name}:{value!r}" for name, value in outputs[0].items()),
        },
        "logprobs": {"content": told_of},
        "finish_reason": "stop",
    }
    return {
        "id": f"chatcmpl-{call.id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.model or told.model.name,
        "choices": [choice],
        "usage": usage(told),
    }


PATHS = (
    Path(
        "/v1/chat/completions",
        "NIM: the reward of a conversation whose last turn is the assistant's, as content and as logprobs.",
        (Dialect(ChatRequest, _completion, refusal=OpenAiRefusal),),
    ),
)
