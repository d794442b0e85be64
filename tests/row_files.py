"""Files of rows, as users have them."""

import json


def write_rows(path, rows):
    """One JSON object a line; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(text):
    """What stands on each line."""
    return [json.loads(line) for line in text.splitlines()]
