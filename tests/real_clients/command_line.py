"""What a script of this folder is told, and how it says what its library got."""

import json
import sys
from typing import Any


def asked() -> tuple[str, dict[str, Any]]:
    """The service's URL, from the command line; and what to ask it, as JSON from standard input."""
    return sys.argv[1], json.load(sys.stdin)


def tell(answer: Any) -> None:
    """One line of JSON, the last that is printed."""
    print(json.dumps(answer))
