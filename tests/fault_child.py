"""A worker child whose engine does as the tokens tell it: it answers with their sum, or goes wrong."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from guerdon.domain.errors import NotServable
from guerdon.workers.child import run

DIE, STOP, SLOW, SHORT, DIE_ONCE = 13_000, 13_001, 13_002, 13_003, 13_004


class Done:
    def __init__(self, answers, tokens):
        self.answers, self.tokens, self.bisections = answers, tokens, 0


class FaultEngine:
    def __init__(self, settings):
        self._log = Path(settings["log"])
        if settings.get("not_servable"):
            raise NotServable("no such model")
        if settings.get("dies_on_load"):
            os.kill(os.getpid(), signal.SIGKILL)

    def compute(self, queries):
        first = [query.token_ids[0] for query in queries]
        with self._log.open("a") as log:
            log.write(f"{os.getpid()} {len(queries)}\n")
        if DIE in first or (DIE_ONCE in first and len(self._log.read_text().splitlines()) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if STOP in first and len({line.split()[0] for line in self._log.read_text().splitlines()}) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        if SLOW in first:
            time.sleep(0.3)
        answers = [np.array([sum(query.token_ids)], dtype=np.float32) for query in queries]
        return Done(answers[:-1] if SHORT in first else answers, sum(len(q.token_ids) for q in queries))


if __name__ == "__main__":
    run(FaultEngine)
