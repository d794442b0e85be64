"""The command: `python -m benchmarks.overoptimization`."""

import argparse
import sys
from pathlib import Path

from benchmarks.overoptimization.figure import draw
from benchmarks.overoptimization.report import NAME
from benchmarks.overoptimization.run import run, say
from benchmarks.overoptimization.settings import FULL, SMOKE

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / NAME


def main() -> int:
    """Run, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overoptimization", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="does it work? Tiny, and its figures mean nothing")
    parser.add_argument("--out", type=Path, help="where results are written (default: benchmarks/results)")
    given = parser.parse_args()
    report = run(SMOKE if given.smoke else FULL, CACHE)
    folder = given.out or (CACHE / "smoke" if given.smoke else ROOT / "benchmarks" / "results")
    text = report.save(folder)
    draw([(part.title, part.curves) for part in report.parts], folder / f"{NAME}.png")
    print(text.read_text())
    say(f"written to {text} (and .json, .png)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
