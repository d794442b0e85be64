"""Finds the tokenizer.json that gives the ids transformers would give."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from guerdon.domain.errors import NotServable
from guerdon.engines.checkpoint import Checkpoint

VOCABULARIES = ("tokenizer.json", "*.model", "vocab.*")
READ_AS_THEY_STAND = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
"""Tokenizer classes for which transformers uses tokenizer.json unchanged."""


def tokenizer_folder(checkpoint: Checkpoint, *, trust_file: bool, cache: Path) -> Path:
    """The folder to read the tokenizer from: the checkpoint's, or what a child made of it.

    ``trust_file`` takes the checkpoint's tokenizer.json as it stands. Conversions are kept under ``cache``,
    named by their content. Raises NotServable where there is no tokenizer to read.
    """
    folder = checkpoint.folder
    file, described = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if file.is_file() and (trust_file or _stands(described)):
        return folder
    if not any(found for pattern in VOCABULARIES for found in folder.glob(pattern)):
        raise NotServable(f"{folder.name}: no tokenizer here: neither tokenizer.json nor a vocabulary")
    out = cache / "tokenizers" / f"{checkpoint.tokenizer_revision()}-{_transformers_version()}"
    if not (out / "tokenizer.json").is_file():
        _convert(folder, out)
    return out


def _transformers_version() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError as error:
        raise NotServable("this needs transformers; run: pip install 'guerdon[torch]'") from error


def _stands(described: Path) -> bool:
    if not described.is_file():
        return True
    return json.loads(described.read_text(encoding="utf-8")).get("tokenizer_class") in (None, *READ_AS_THEY_STAND)


def _convert(folder: Path, out: Path) -> None:
    """Convert in a child, and move the result into place whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as made:
        command = [sys.executable, "-P", "-m", "guerdon.engines.torch_tokenizer", str(folder), str(Path(made) / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotServable(f"{folder.name}: its tokenizer cannot be read: {reason}")
        try:
            (Path(made) / "out").rename(out)
        except OSError:
            if not out.exists():  # where another process did the same at the same time, its files are as good
                raise
