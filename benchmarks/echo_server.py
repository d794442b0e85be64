"""The least that a FastAPI service can do with a JSON body: read it, and send it back."""

import argparse
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI

app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that it runs."""
    return {"status": "ok"}


@app.post("/v1/score")
async def echo(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """What was sent."""
    return body


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="warning")
