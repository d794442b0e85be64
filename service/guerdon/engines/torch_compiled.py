"""Has torch compile a model's layers."""

import logging

import torch
from torch import nn

from guerdon.domain.errors import NotServable

log = logging.getLogger(__name__)


def compile_layers(base: nn.Module) -> None:
    """Compile every layer of the model's largest stack of layers when it is first run, for all lengths at once.

    Layers share one compiled form where they are alike. Attention stays as it is. Raises NotServable where the model
    has no stack of layers.
    """
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise NotServable(f"compile: {type(base).__name__} has no stack of layers to compile")
    # One form for each number of threads, each adapter, and lengths of 1 and of more.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1 << 14
    # Lanes run with fewer threads than the first pass, for which the code is made.
    torch._inductor.config.cpp.dynamic_threads = True
    layers = max(stacks, key=lambda stack: sum(weight.numel() for weight in stack.parameters()))
    for layer in layers:
        layer.compile(dynamic=True)
    log.info("engine.compiles layers=%d", len(layers))
