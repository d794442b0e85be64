"""A worker child whose engine does as the tokens tell it: it answers with their sum, or goes wrong."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Work, integers
from guerdon.engines.shared_cost import SharedCost
from guerdon.workers.child import run

DIE, STOP, SLOW, SHORT, DIE_ONCE, TWICE, STRAY, WAIT, DIE_LATE_ONCE = range(13_000, 13_009)


class FaultEngine:
    """``log`` has a line for each batch: the process, and the first token of each query."""

    def __init__(self, settings):
        self._log = Path(settings["log"])
        self._splits = settings.get("memory_splits", 0)
        self.shares_prefixes = settings.get("shares_prefixes", False)
        if settings.get("not_servable"):
            raise NotServable("no such model")
        if settings.get("dies_on_load"):
            os.kill(os.getpid(), signal.SIGKILL)

    def compute(self, queries, deliver):
        tokens = [integers(query.token_ids).tolist() for query in queries]
        first = [ids[0] for ids in tokens]
        self._note(first)
        if DIE in first or (DIE_ONCE in first and len(self._lives()) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if STOP in first and len(set(self._lives())) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        if SLOW in first:
            time.sleep(0.3)
        cost = SharedCost(shares=self.shares_prefixes)
        for index in sorted(range(len(queries)), key=lambda index: first[index] in (WAIT, DIE_LATE_ONCE)):
            self._wait(first[index])
            answer = np.array([sum(tokens[index])], dtype=np.float32)
            computed = cost.added(queries[index])
            cost.add(queries[index])
            for _ in range({SHORT: 0, TWICE: 2}.get(first[index], 1)):
                deliver(len(queries) if first[index] == STRAY else index, answer, computed)
        return Work(sum(query.length for query in queries), memory_splits=self._splits)

    def _wait(self, first):
        """Stand still, with the other answers delivered, until the test says so; or die then."""
        dies = first == DIE_LATE_ONCE and len(self._lives()) == 1
        while (dies or first == WAIT) and not self._log.with_suffix(".go").exists():
            time.sleep(0.005)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, first):
        with self._log.open("a") as log:
            log.write(f"{os.getpid()} {','.join(map(str, first))}\n")

    def _lives(self):
        """The process of each batch so far."""
        return [line.split()[0] for line in self._log.read_text().splitlines()]


if __name__ == "__main__":
    run(FaultEngine)
