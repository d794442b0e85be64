"""The torch engine against transformers' own forward pass: single sample, no padding, float32."""

import asyncio
import random

import numpy as np
import pytest
from transformers import AutoTokenizer

from checkpoints import ARCHITECTURES, DECODERS, build_adapter, build_backbone, build_headless_causal
from engines import compute
from guerdon.domain.errors import EngineFailed, NotServable
from guerdon.domain.events import WorkerUp
from guerdon.domain.queries import Query, integers
from guerdon.domain.samples import assistant, user
from guerdon.engines.layout import near_equal_groups
from guerdon.engines.settings import AdapterSettings, EngineSettings
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.torch_engine import TorchEngine
from guerdon.engines.torch_pass import pooled_index
from guerdon.workers.process import ProcessWorker
from guerdon.workers.settings import WorkerSettings
from oracle import reference_embedding, reference_reward

BATCHES = 100


def sequences(folder, count, seed, longest=110):
    """Token sequences of very different lengths, some of which end in eos, once or more."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ordinary = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    rng = random.Random(seed)
    made = []
    for number in range(count):
        ids = [rng.choice(ordinary) for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 30, 60, longest]))]
        made.append(tuple(ids + [end] * (number % 4)))
    return made


def batches(queries, seed):
    """Random compositions, repetitions included."""
    rng = random.Random(seed)
    return [[rng.choice(queries) for _ in range(rng.randint(1, 14))] for _ in range(BATCHES)]


def into(answers):
    """Puts what is delivered in its place."""

    def deliver(index, answer, tokens):
        answers[index] = answer

    return deliver


def assert_right(answers, queries, expected):
    for answer, query in zip(answers, queries, strict=True):
        right = np.array(expected[tuple(integers(query.token_ids).tolist())])
        assert np.all(np.abs(answer - right) <= 1e-5 * np.maximum(1, np.abs(right))), (answer, right)


@pytest.fixture
def expected():
    """Reference rewards by token sequence."""
    return lambda folder, ids: {one: reference_reward(folder, one) for one in ids}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rewards_equal_the_reference_in_any_batch_inline(architecture, checkpoint, expected):
    """The same sequence gets the reference's reward whoever its neighbours are."""
    folder = checkpoint(architecture)
    ids = sequences(folder, 16, seed=1)
    right = expected(folder, ids)
    engine = TorchEngine(EngineSettings(folder=str(folder), device="cpu"))
    for batch in batches([Query.of(one) for one in ids], seed=2):
        assert_right(compute(engine, batch).answers, batch, right)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
async def test_rewards_equal_the_reference_in_any_batch_in_a_child_process(architecture, checkpoint, expected):
    """What crosses the socket is what was computed, in order, for each of a hundred batches."""
    folder = checkpoint(architecture)
    ids = sequences(folder, 16, seed=3)
    right = expected(folder, ids)
    events = []
    settings = EngineSettings(folder=str(folder), device="cpu", threads=1).model_dump(mode="json")
    worker = ProcessWorker(settings, WorkerSettings(), name="engine", replica=0, record=events.append)
    await worker.start()
    try:
        await worker.ready()
        composed = batches([Query.of(one) for one in ids], seed=4)
        for pair in zip(composed[::2], composed[1::2], strict=True):
            answers = [[None] * len(batch) for batch in pair]
            await asyncio.gather(*(worker.run(batch, into(found)) for batch, found in zip(pair, answers, strict=True)))
            for batch, found in zip(pair, answers, strict=True):
                assert_right(found, batch, right)
    finally:
        await worker.close()
    assert events[0] == WorkerUp("engine", 0)


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_pooled_token_is_the_last_one_where_pad_is_eos(architecture, checkpoint, expected):
    """A row that ends in eos, or is nothing but eos, is pooled at its end although eos is the pad token."""
    folder = checkpoint(architecture, pad_is_eos=True)
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    ids = [*sequences(folder, 12, seed=5), (end,), (end, end, end)]
    right = expected(folder, ids)
    engine = TorchEngine(EngineSettings(folder=str(folder), device="cpu"))
    for batch in batches([Query.of(one) for one in ids], seed=6):
        assert_right(compute(engine, batch).answers, batch, right)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blank_responses_are_rewarded_as_the_reference_does(architecture, checkpoint):
    """From the text on: an empty or blank response in its conversation, beside an ordinary one in the same batch."""
    folder = checkpoint(architecture)
    tokenizer = ModelTokenizer(folder, max_tokens=512)
    read = [tokenizer.conversation(user("How do I bake bread?"), assistant(text)) for text in ("", " ", "\n\n", "Mix.")]
    engine = TorchEngine(EngineSettings(folder=str(folder), device="cpu"))
    answers = compute(engine, [Query.of(tokens.ids, tokens.type_ids) for tokens in read]).answers
    takes_types = architecture in ("bert", "deberta-v2")
    for tokens, answer in zip(read, answers, strict=True):
        right = reference_reward(folder, tokens.ids, tokens.type_ids if takes_types else None)
        assert answer == pytest.approx(right, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("architecture", ["qwen2", "roberta"])
def test_every_label_of_a_model_is_answered(architecture, checkpoint, expected):
    """Many labels: one number each, none activated."""
    folder = checkpoint(architecture, num_labels=3)
    ids = sequences(folder, 8, seed=7)
    engine = TorchEngine(EngineSettings(folder=str(folder), device="cpu"))
    queries = [Query.of(one) for one in ids]
    answers = compute(engine, queries).answers
    assert {answer.shape for answer in answers} == {(3,)}
    assert_right(answers, queries, expected(folder, ids))


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.15), ("float16", 0.03)])
def test_half_precision_stays_near_the_reference(dtype, tolerance, checkpoint, expected):
    """bfloat16 and float16 run, and differ from float32 by no more than their precision explains."""
    folder = checkpoint("qwen3")
    ids = sequences(folder, 12, seed=8, longest=60)
    right = np.array([expected(folder, ids)[one] for one in ids])
    engine = TorchEngine(EngineSettings(folder=str(folder), device="cpu", dtype=dtype))
    answers = compute(engine, [Query.of(one) for one in ids]).answers
    spread = np.std(right)
    assert np.max(np.abs(np.array(answers) - right)) < tolerance * max(1, spread)


def test_adapters_of_one_base_share_an_engine(checkpoint, tmp_path):
    """Two LoRA adapters and the base model, mixed in one batch, each give their own reference's rewards."""
    base = checkpoint("llama")
    adapters = {name: build_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate(("x", "y"), 1)}
    settings = EngineSettings(
        folder=str(base),
        device="cpu",
        adapters=tuple(AdapterSettings(name=name, folder=str(folder)) for name, folder in adapters.items()),
    )
    ids = sequences(base, 9, seed=9)
    queries = [Query.of(one, adapter=name) for one in ids for name in ("", "x", "y")]
    random.Random(1).shuffle(queries)
    answers = compute(TorchEngine(settings), queries).answers
    for query, answer in zip(queries, answers, strict=True):
        right = reference_reward(base, integers(query.token_ids).tolist(), adapter=adapters.get(query.adapter))
        assert answer == pytest.approx(right, rel=1e-5, abs=1e-5)


def test_an_adapter_brings_the_head_that_its_base_lacks(checkpoint, tmp_path):
    """An adapter over a plain language model is served by its own head, and the bare base is refused."""
    base = build_headless_causal(tmp_path / "base")
    with_head = checkpoint("llama")
    adapter = build_adapter(with_head, tmp_path / "adapter", seed=3)
    only_adapter = EngineSettings(
        folder=str(base),
        device="cpu",
        adapters=(AdapterSettings(name="x", folder=str(adapter)),),
        labels=1,
        serves_base=False,
    )
    answers = compute(TorchEngine(only_adapter), [Query.of((5, 6, 7), adapter="x")]).answers
    assert np.isfinite(answers[0]).all()
    with pytest.raises(NotServable, match=r"not a trained sequence classifier.*score\.weight"):
        TorchEngine(EngineSettings(folder=str(base), device="cpu"))


def test_pooled_layers_equal_the_reference(tmp_path):
    """Mean-pooled hidden layers of a backbone are those of the unpadded text, whatever the batch."""
    folder = build_backbone(tmp_path / "backbone")
    ids = [tuple(range(5, 5 + length)) for length in (1, 2, 9, 40)]
    engine = TorchEngine(EngineSettings(folder=str(folder), task="embed", device="cpu"))
    answers = compute(engine, [Query.of(one, layers=(0, 2, -1), pooling="mean") for one in ids]).answers
    for one, answer in zip(ids, answers, strict=True):
        right = np.concatenate([reference_embedding(folder, one, layer) for layer in (0, 2, -1)])
        assert answer == pytest.approx(right, rel=1e-5, abs=1e-5)


def test_a_query_that_breaks_the_model_breaks_alone(checkpoint, expected):
    """One impossible token among good ones: its neighbours are right, it gets an error."""
    folder = checkpoint("qwen2")
    ids = sequences(folder, 7, seed=10)
    queries = [Query.of(one) for one in ids]
    bad = Query.of((10**6, 1, 2))
    engine = TorchEngine(EngineSettings(folder=str(folder), device="cpu"))
    done = compute(engine, [*queries[:3], bad, *queries[3:]])
    assert isinstance(done.answers.pop(3), EngineFailed)
    assert_right(done.answers, queries, expected(folder, ids))
    assert done.work.bisections <= 2 * np.log2(8) + 1


def test_transformers_own_pooling_rule_is_available():
    """Models trained with the rule "last token that is not pad" can be served with it."""
    assert pooled_index((4, 5, 2, 2)) == 3
    assert pooled_index((4, 5, 2, 2), pad_to_skip=2) == 1
    assert pooled_index((2, 2), pad_to_skip=2) == 0


def test_a_device_that_is_not_there_is_refused(checkpoint):
    """The error names the device."""
    with pytest.raises(NotServable, match="device cuda:7"):
        TorchEngine(EngineSettings(folder=str(checkpoint("bert")), device="cuda:7"))


def test_groups_hold_every_index_once_and_little_padding():
    """No group wastes more than its share, and none is left out."""
    rng = random.Random(11)
    for _ in range(200):
        lengths = [rng.randint(1, 600) for _ in range(rng.randint(1, 40))]
        groups = near_equal_groups(lengths)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        for group in groups:
            rectangle = max(lengths[i] for i in group) * len(group)
            assert rectangle - sum(lengths[i] for i in group) <= max(0.1 * rectangle, 64)
