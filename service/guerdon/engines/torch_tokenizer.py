"""Writes the tokenizer that transformers makes of a checkpoint, as one tokenizer.json.

Run as ``python -m guerdon.engines.torch_tokenizer FOLDER OUT``, so that the gateway need not load transformers.
Some of its tokenizer classes build their own normalizer and pre-tokenizer instead of reading the file's.
"""

import shutil
import sys
from pathlib import Path

KEPT_AS_THEY_ARE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def convert(folder: Path, out: Path) -> None:
    """Write tokenizer.json, and copy what else describes the tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    out.mkdir(parents=True, exist_ok=True)
    for name in KEPT_AS_THEY_ARE:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # says that it is not there: its import takes seconds
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
