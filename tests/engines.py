"""Calls an engine and waits for everything that it delivers."""

from dataclasses import dataclass

from guerdon.domain.queries import Work


@dataclass
class Computed:
    answers: list
    fresh: list
    work: Work


def compute(engine, queries):
    """Answers and tokens in the order asked; each query must be answered once."""
    delivered = {}

    def deliver(index, answer, tokens):
        assert index not in delivered
        delivered[index] = answer, tokens

    work = engine.compute(queries, deliver)
    in_order = [delivered.pop(index) for index in range(len(queries))]
    assert not delivered
    return Computed([answer for answer, _ in in_order], [tokens for _, tokens in in_order], work)
