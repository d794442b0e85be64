"""All the families of protocols, by the paths that they are asked at."""

from guerdon.transport.compat import (
    llama_factory,
    nemo_gym,
    nim,
    open_inference,
    openrlhf,
    rerank,
    rewardanything,
    sglang,
    slime,
    tei,
    vllm,
)

SCORE = (vllm.SCORE, sglang.SCORE)
"""What meets the native protocol at /v1/score."""

PATHS = (
    *openrlhf.PATHS,
    *slime.PATHS,
    *llama_factory.PATHS,
    *sglang.PATHS,
    *vllm.PATHS,
    *rerank.PATHS,
    *tei.PATHS,
    *nim.PATHS,
    *nemo_gym.PATHS,
    *rewardanything.PATHS,
    *open_inference.PATHS,
)
