"""What plans of scorers have in common: files, tokenizers, outputs."""

from pathlib import Path

from guerdon.domain.errors import NotServable
from guerdon.engines.checkpoint import Checkpoint, package_path
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.tokenizer_files import tokenizer_folder
from guerdon.scorers.settings import Reading


def tokenizer_of(
    settings: Reading, checkpoint: Checkpoint, base: Path, cache: Path, *, append_eos: bool = False
) -> tuple[ModelTokenizer, tuple[str, ...]]:
    """The tokenizer, and what of it changes a score."""
    folder = tokenizer_folder(checkpoint, trust_file=settings.tokenizer == "file", cache=cache)
    replaced = _chat_template(base, settings.chat_template)
    limits = [limit for limit in (checkpoint.max_tokens, settings.max_tokens) if limit is not None]
    tokenizer = ModelTokenizer(
        folder,
        max_tokens=min(limits, default=None),
        template=settings.template,
        chat_template=replaced,
        truncation=settings.truncation,
        append_eos=append_eos,
    )
    told = (
        checkpoint.tokenizer_revision(), settings.tokenizer, tokenizer.template, replaced or "",
        settings.truncation, str(tokenizer.max_tokens), str(append_eos),
    )  # fmt: skip
    return tokenizer, told


def label(wanted: str | int | None, labels: tuple[str, ...]) -> int | None:
    """The output that is the score; None where there are several and none is wanted. Raises NotServable."""
    if wanted is None:
        return 0 if len(labels) == 1 else None
    if isinstance(wanted, int) and 0 <= wanted < len(labels):
        return wanted
    if wanted in labels:
        return labels.index(str(wanted))
    raise NotServable(f"label: the model has no output {wanted!r}; it has {', '.join(labels)}")


def _chat_template(base: Path, file: str | None) -> str | None:
    if file is None:
        return None
    return existing(base, "chat_template", file).read_text(encoding="utf-8")


def existing(base: Path, setting: str, file: str) -> Path:
    """The file that a setting names. Raises NotServable."""
    path = package_path(file) if file.startswith("package:") else Path(here(base, file))
    if not path.is_file():
        raise NotServable(f"{setting}: there is no file {file}")
    return path


def here(base: Path, path: str) -> str:
    """A relative path that exists beside the configuration file is meant to be that one."""
    beside = base / Path(path).expanduser()
    return str(beside) if beside.exists() else path
