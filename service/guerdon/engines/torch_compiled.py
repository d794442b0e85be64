"""Has torch compile a model's layers."""

import logging

import torch
from torch import nn

from guerdon.domain.errors import NotServable

log = logging.getLogger(__name__)


def compile_layers(base: nn.Module) -> None:
    """Compile every layer of the model's longest stack of layers when it is first run, for all lengths at once.

    Layers share one compiled form where they are alike. Attention stays as it is. Raises NotServable where the model
    has no stack of layers.
    """
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise NotServable(f"compile: {type(base).__name__} has no stack of layers to compile")
    torch._dynamo.config.recompile_limit = 64
    # Lanes run with fewer threads than the first pass, for which the code is made.
    torch._inductor.config.cpp.dynamic_threads = True
    for layer in max(stacks, key=len):
        layer.compile(dynamic=True)
    log.info("engine.compiles layers=%d", max(map(len, stacks)))
