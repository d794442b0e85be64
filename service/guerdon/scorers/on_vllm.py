"""How a scorer whose model runs on a vLLM server says which."""

from typing import Literal, Self

from pydantic import Field, model_validator

from guerdon.domain.strict import Strict
from guerdon.engines.vllm_settings import Dialect

OURS = frozenset({"--host", "--port", "--model", "--served-model-name", "--runner", "--api-key", "--uds"})
"""Arguments by which we find the server that we start, or that would open it to others."""


class OnVllm(Strict):
    """A server that is started here, or the URL of one."""

    model: str = Field(description="folder, or hub id; the name at the server's where there is a url")
    revision: str | None = Field(None, description="the hub's commit; of a url, any word that changes with the weights")
    engine: Literal["vllm"] = "vllm"
    url: str | None = Field(None, pattern=r"^https?://", description="of a server that is there already")
    server: Dialect = Field(
        "vllm", description="what a server at a url understands: vllm, sglang, or openai's API only"
    )
    api_key_file: str | None = Field(None, description="holds the key that a server at a url asks for")
    served_model: str | None = Field(None, description="the model's name at a url, where that differs from `model`")
    vllm_python: str | None = Field(None, description="interpreter of the environment that vLLM is installed in")
    vllm_args: list[str] = Field([], description="more arguments of vLLM's server")
    vllm_env: dict[str, str] = Field({}, description="more of its environment, such as CUDA_VISIBLE_DEVICES")
    vllm_log: str | None = Field(None, description="a file that what it prints is appended to")
    dtype: str = Field("auto", pattern=r"^(auto|float32|bfloat16|float16)$")
    concurrency: int = Field(64, ge=1, le=4096, description="requests under way at the server")
    max_waiting: int = Field(4096, ge=0, description="more requests that wait here for a turn")
    start_timeout_s: float = Field(600.0, gt=0)
    hung_after_s: float = Field(30.0, gt=0, description="a server that does not say how it is for so long hangs")

    @model_validator(mode="after")
    def _started_or_found(self) -> Self:
        started = {
            "vllm_python": self.vllm_python,
            "vllm_args": self.vllm_args,
            "vllm_env": self.vllm_env,
            "vllm_log": self.vllm_log,
        }
        flags = [word.partition("=")[0].replace("_", "-") for word in self.vllm_args]
        if given := next((flag for flag in flags if flag in OURS), None):
            raise ValueError(f"`vllm_args`: {given} is not yours to set")
        if self.url is not None and (given := next((name for name, value in started.items() if value), None)):
            raise ValueError(f"`{given}` is for a server that is started here; with `url` there is none")
        if self.url is None:
            found = {"api_key_file": self.api_key_file, "served_model": self.served_model}
            if given := next((name for name, value in found.items() if value), None):
                raise ValueError(f"`{given}` is for a server at a `url`")
            if self.server != "vllm":
                raise ValueError(f"`server: {self.server}` needs a `url`; what is started here is vLLM")
        return self
