"""OpenAI's SDK: a chat completion read as NVIDIA's reward endpoint, an embedding read as verl's, the list of models."""

import openai
from command_line import asked, tell

url, case = asked()
client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
choice = client.chat.completions.create(model=case["model"], messages=case["messages"]).choices[0]
base64 = client.embeddings.create(model=case["model"], input=case["text"])
floats = client.embeddings.create(model=case["model"], input=[case["text"]], encoding_format="float")
try:
    refusal = client.chat.completions.create(model="no-such-model", messages=case["messages"])
except openai.NotFoundError as error:
    refusal = error.body["message"]
tell(
    {
        "refusal": refusal,
        "content": choice.message.content,
        "logprobs": {entry.token: entry.logprob for entry in choice.logprobs.content},
        "finish_reason": choice.finish_reason,
        "embedding_base64": base64.data[-1].embedding,
        "embedding_float": floats.data[-1].embedding,
        "models": [model.id for model in client.models.list()],
    }
)
