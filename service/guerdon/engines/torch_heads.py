"""A model's own classification head, over hidden states that were found elsewhere."""

import copy
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

_found: ContextVar[BaseModelOutputWithPooling] = ContextVar("found")


class OwnHead:
    """What a classifier's class does after its base: the same object but for the base, which answers what it is told.

    Safe for threads.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._pooler = getattr(model.base_model, "pooler", None)
        self._model: Any = copy.copy(model)
        self._model._modules = {**model._modules, model.base_model_prefix: _Found()}

    def __call__(self, states: Tensor, mask: Tensor) -> Tensor:
        """Logits [sequences, labels] from states [sequences, longest, hidden] under their mask."""
        pooled = self._pooler(states) if self._pooler is not None else None
        token = _found.set(BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled))
        try:
            logits: Tensor = self._model(input_ids=mask, attention_mask=mask).logits
            return logits
        finally:
            _found.reset(token)


class _Found(nn.Module):
    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPooling:
        return _found.get()
