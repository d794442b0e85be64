"""Words that are wrong, and what was meant by them."""

import difflib
from collections.abc import Iterable


def known(word: object, words: Iterable[str], what: str) -> None:
    """Raises ValueError where the word is none of the words: it names the nearest, or all of them."""
    words = list(words)
    if word not in words:
        raise ValueError(f"{what}: {word!r} is not known; {meant(word, words)}")


def meant(word: object, words: Iterable[str]) -> str:
    """The word that was meant, or all that there are."""
    words = list(words)
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(words)}"
