"""LoRA and other PEFT adapters over one set of base weights."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel


class PeftAdapters:
    """Adapters by name, loaded into ``model``; its own weights are there once, however many adapters there are."""

    def __init__(self, model: PreTrainedModel, adapters: Sequence[tuple[str, str]]) -> None:
        (first, folder), *others = adapters
        config = PeftConfig.from_pretrained(folder)
        config.inference_mode = True
        self._model = PeftModel.from_pretrained(model, folder, adapter_name=first, config=config)
        for name, other in others:
            self._model.load_adapter(other, adapter_name=name, is_trainable=False)
        self._model.eval()

    def active(self, adapter: str) -> AbstractContextManager[Any]:
        """While the block runs, this adapter is part of the model; empty is none."""
        if not adapter:
            disabled: AbstractContextManager[Any] = self._model.disable_adapter()
            return disabled
        self._model.set_adapter(adapter, inference_mode=True)
        return nullcontext()
