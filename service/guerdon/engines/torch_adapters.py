"""LoRA adapters over one set of base weights."""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel

from guerdon.domain.errors import NotServable
from guerdon.engines.settings import AdapterSettings


class PeftAdapters:
    """Adapters by name, loaded into ``model``; its own weights are there once, however many adapters there are."""

    def __init__(self, model: PreTrainedModel, adapters: Sequence[AdapterSettings]) -> None:
        first = adapters[0]
        config = PeftConfig.from_pretrained(first.folder)
        config.inference_mode = True
        with warnings.catch_warnings():
            # What peft warns of here is refused below.
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            self._model = PeftModel.from_pretrained(model, first.folder, adapter_name=first.name, config=config)
        for adapter in adapters:
            # The first is read once more, for the report of what its file lacks.
            report = self._model.load_adapter(adapter.folder, adapter_name=adapter.name, is_trainable=False)
            _refuse_made_up_weights(adapter, report.missing_keys)
        self._model.eval()

    def active(self, adapter: str) -> AbstractContextManager[Any]:
        """While the block runs, this adapter is part of the model; empty is none."""
        if not adapter:
            disabled: AbstractContextManager[Any] = self._model.disable_adapter()
            return disabled
        self._model.set_adapter(adapter, inference_mode=True)
        return nullcontext()


def _refuse_made_up_weights(adapter: AdapterSettings, missing: Sequence[str]) -> None:
    """What the file lacks, peft leaves as it was initialised."""
    lacking = [name for name in missing if "lora_" in name and f".{adapter.name}." in name]
    if lacking:
        raise NotServable(f"{Path(adapter.folder).name}: the adapter's weights lack {lacking[0]}")
