"""The usual remote reward server: FastAPI around a transformers classifier, batches padded to their longest text."""

import argparse

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

BATCH = 16


class RewardRequest(BaseModel):
    """Texts to reward; for an encoder, with the texts that stand before them."""

    query: list[str]
    prompts: list[str] | None = None


def application(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> FastAPI:
    """One route, which computes in the event loop as such servers do."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/get_reward")
    async def get_reward(request: RewardRequest) -> dict[str, list[float]]:
        rewards: list[float] = []
        for start in range(0, len(request.query), BATCH):
            texts = request.query[start : start + BATCH]
            pairs = (request.prompts[start : start + BATCH], texts) if request.prompts else (texts,)
            inputs = tokenizer(*pairs, padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                rewards += model(**inputs).logits[:, 0].float().tolist()
        return {"rewards": rewards}

    return app


def main() -> None:
    """Serve one model until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    model = AutoModelForSequenceClassification.from_pretrained(given.model, dtype=getattr(torch, given.dtype)).eval()
    app = application(model, AutoTokenizer.from_pretrained(given.model))
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
