"""Packed rows: common prefixes computed once, within a batch and from one batch to the next."""

import contextlib
import random
import shutil
import subprocess
import sys
from array import array
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BloomConfig,
    DiffLlamaConfig,
    GPT2Config,
    Phi3Config,
    PhiConfig,
    PhimoeConfig,
)

from checkpoints import DECODERS, SLIDING_WINDOW, build_adapter
from engines import compute
from guerdon.domain.queries import Query
from guerdon.engines import torch_known
from guerdon.engines.prefix_trie import pack, pack_apart
from guerdon.engines.settings import AdapterSettings, EngineSettings
from guerdon.engines.torch_attention import Rule
from guerdon.engines.torch_engine import TorchEngine
from guerdon.engines.torch_flex import FlexAttention
from guerdon.engines.torch_segments import SegmentAttention
from oracle import reference_reward


@pytest.fixture(autouse=True)
def short_prefixes_known(monkeypatch):
    """Keys and values are kept however short the sequences are."""
    monkeypatch.setattr(torch_known, "worth_knowing", lambda width: 1)


def engine_of(folder, **options):
    return TorchEngine(EngineSettings(folder=str(folder), device="cpu", **options))


def grouped(seed, *, groups=4, responses=4, prompt=(3, 20, 60), response=(1, 2, 9, 40)):
    """Sequences in groups with a common prompt, shuffled together."""
    rng = random.Random(seed)
    prompts = [tuple(rng.randrange(5, 60) for _ in range(rng.choice(prompt))) for _ in range(groups)]
    made = [p + tuple(rng.randrange(5, 60) for _ in range(rng.choice(response))) for p in prompts * responses]
    rng.shuffle(made)
    return made


def distinct(sequences):
    """How many tokens there are to compute: each non-empty prefix once."""
    return len({one[:length] for one in sequences for length in range(1, len(one) + 1)})


def assert_right(answers, sequences, folder):
    for answer, one in zip(answers, sequences, strict=True):
        right = reference_reward(folder, one)
        assert np.all(np.abs(answer - right) <= 1e-5 * np.maximum(1, np.abs(right))), (answer, right)


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_common_prefix_is_computed_once_and_changes_no_reward(architecture, checkpoint):
    """Groups with a prompt in common: every reward is the lone sequence's, every distinct token is computed once."""
    folder = checkpoint(architecture)
    engine = engine_of(folder, threads=1)  # one row a batch
    assert engine.shares_prefixes
    for seed in range(12):
        sequences = grouped(seed)
        done = compute(engine, [Query.of(one) for one in sequences])
        assert_right(done.answers, sequences, folder)
        assert done.work.tokens == distinct(sequences) == sum(done.fresh)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert"])
def test_encoders_are_packed_without_sharing(architecture, checkpoint):
    """Tokens that see what follows them share nothing, and no padding is computed."""
    folder = checkpoint(architecture)
    engine = engine_of(folder)
    sequences = grouped(1)
    done = compute(engine, [Query.of(one) for one in sequences])
    assert not engine.shares_prefixes
    assert done.work.tokens == sum(map(len, sequences))
    assert_right(done.answers, sequences, folder)


@pytest.mark.parametrize("architecture", DECODERS)
def test_responses_that_come_one_by_one_pay_for_their_prompt_once(architecture, checkpoint):
    """With a prefix cache, all batches together compute every distinct token once, and no reward changes."""
    folder = checkpoint(architecture)
    engine = engine_of(folder, prefix_cache_bytes=1 << 24)
    sequences = list(dict.fromkeys(grouped(2)))
    computed = 0
    for at in range(0, len(sequences), 2):
        some = sequences[at : at + 2]
        done = compute(engine, [Query.of(one) for one in some])
        assert_right(done.answers, some, folder)
        computed += done.work.tokens
    # A sequence that is the beginning of an earlier one computes its last token anew.
    whole = sum(any(other[: len(one)] == one for other in sequences[:at]) for at, one in enumerate(sequences))
    assert computed == distinct(sequences) + whole


def test_without_a_prefix_cache_nothing_is_kept(checkpoint):
    """Off by a setting: the second response pays for the prompt again."""
    engine = engine_of(checkpoint("qwen3"), prefix_cache_bytes=0)
    first, second = Query.of(range(5, 45)), Query.of([*range(5, 44), 50])
    assert [compute(engine, [query]).work.tokens for query in (first, second)] == [40, 40]


def test_short_prefixes_are_computed_again(checkpoint, monkeypatch):
    """What is known is used from 64 tokens on; below that, keeping it would cost more than it saves."""
    monkeypatch.undo()
    folder = checkpoint("qwen3")
    engine = engine_of(folder, prefix_cache_bytes=1 << 24)
    prompt = tuple(5 + at % 50 for at in range(64))
    sequences = [(*prompt, 7), (*prompt, 8), (*prompt[:63], 60), (*prompt[:40], 7), (*prompt[:40], 8)]
    done = [compute(engine, [Query.of(one)]) for one in sequences]
    assert [one.work.tokens for one in done] == [65, 1, 64, 41, 41]
    assert_right([one.answers[0] for one in done], sequences, folder)


@pytest.mark.parametrize("room", [1_000, 20_000, 100_000])
def test_a_small_prefix_cache_forgets_and_never_lies(room, checkpoint):
    """Whatever has been dropped, rewards are right."""
    folder = checkpoint("mistral")
    engine = engine_of(folder, prefix_cache_bytes=room)
    for seed in range(8):
        sequences = grouped(seed % 3, responses=2)
        assert_right(compute(engine, [Query.of(one) for one in sequences]).answers, sequences, folder)


def test_pooling_by_transformers_rule_looks_past_what_is_known(checkpoint):
    """The last token that is not pad may lie in a known prefix: it is computed again."""
    folder = checkpoint("llama")
    pad = AutoModelForSequenceClassification.from_pretrained(folder).config.pad_token_id
    engine = engine_of(folder, prefix_cache_bytes=1 << 24, pooled_token="transformers")
    one = (7, 8, 9, 10)
    for padded in (one, (*one, pad), (*one, pad, pad), (*one, pad)):
        answer = compute(engine, [Query.of(padded)]).answers[0]
        assert answer == pytest.approx(reference_reward(folder, one), rel=1e-5, abs=1e-5)


OTHERS = {
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=128),
    "bloom": BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=64),
    "phi": PhiConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=64),
    "diffllama": DiffLlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=64
    ),
    "phimoe": PhimoeConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        vocab_size=64, num_local_experts=2, sliding_window=8,
    ),
    "phi3-long": Phi3Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=64,
        max_position_embeddings=256, original_max_position_embeddings=16,
        rope_scaling={"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4},
    ),
}  # fmt: skip
UNPACKABLE = {"bloom", "phimoe", "phi3-long"}
"""Positions that are a bias on attention; a window that attention is not told of; positions that depend on how long
the longest sequence is."""


@pytest.mark.parametrize("name", OTHERS)
def test_models_that_nobody_listed_are_right_either_way(name, tmp_path):
    """A model is tried packed when it is loaded; one that answers otherwise then runs padded, and right."""
    torch.manual_seed(1)
    config = OTHERS[name]
    config.pad_token_id, config.num_labels = 0, 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    engine = engine_of(tmp_path, prefix_cache_bytes=1 << 22)
    sequences = grouped(3, prompt=(3, 20), response=(1, 5, 30))
    for some in (sequences[:5], sequences):
        assert_right(compute(engine, [Query.of(one) for one in some]).answers, some, tmp_path)
    assert engine.shares_prefixes == (name not in UNPACKABLE)


def dense_mask(row, *, causal, window):
    """[tokens, tokens]: who sees whom, by walking up the trie."""
    count = len(row.token_ids)
    mask = torch.zeros(count, count, dtype=torch.bool)
    for index, segment in enumerate(row.segments):
        own = slice(segment.start, segment.end)
        mask[own, own] = torch.ones(segment.end - segment.start, segment.end - segment.start).tril().bool() | (
            not causal
        )
        while (index := row.segments[index].parent) >= 0:
            mask[own, row.segments[index].start : row.segments[index].end] = True
    if window is not None:
        positions = torch.from_numpy(row.positions)
        mask &= (positions[:, None] - positions[None]).abs() < window
    return mask


def dense_attention(query, key, value, mask, rule):
    """Attention as it is written in textbooks, in float64."""
    group = len(query) // len(key)
    key, value = (states.repeat_interleave(group, 0).double() for states in (key, value))
    logits = query.double() @ key.transpose(1, 2) * rule.scale
    if rule.softcap:
        logits = rule.softcap * torch.tanh(logits / rule.softcap)
    return (logits.masked_fill(~mask, -torch.inf).softmax(-1) @ value).transpose(0, 1)


rows = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12).map(tuple), min_size=1, max_size=8)


@pytest.mark.parametrize("tile", [1, 3, 128])
@settings(deadline=None, max_examples=40)
@given(rows, st.booleans(), st.sampled_from([None, 1, 3, 8]), st.sampled_from([None, 2.0]), st.sampled_from([1, 2]))
def test_attention_over_a_row_is_dense_attention_under_its_mask(tile, ids, causal, window, softcap, key_heads):
    """Segments and tiles are a way of computing: tries, windows, soft caps, grouped heads give what a mask does."""
    attention = partial(SegmentAttention, tile=tile)
    assert_dense(attention, ids, causal=causal, rule=Rule(0.25, window, softcap), key_heads=key_heads)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(deadline=None, max_examples=40)
@given(rows, st.booleans(), st.sampled_from([None, 1, 3, 8]), st.sampled_from([None, 2.0]), st.sampled_from([1, 2]))
def test_a_block_mask_over_a_row_gives_the_same(ids, causal, window, softcap, key_heads):
    """What runs on CUDA, as far as a CPU can run it."""
    assert_dense(FlexAttention, ids, causal=causal, rule=Rule(0.25, window, softcap), key_heads=key_heads)


def assert_dense(attention, ids, *, causal, rule, key_heads):
    packed = [array("i", one).tobytes() for one in ids]
    row = pack(packed) if causal else pack_apart(packed)
    torch.manual_seed(len(ids))
    query, key, value = (torch.randn(heads, len(row.token_ids), 16) for heads in (2, key_heads, key_heads))
    found = attention(row, causal=causal)(query, key, value, rule)
    right = dense_attention(query, key, value, dense_mask(row, causal=causal, window=rule.window), rule)
    assert torch.allclose(found.double(), right, atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("attention", [partial(SegmentAttention, tile=2), SegmentAttention, FlexAttention])
@settings(deadline=None, max_examples=40)
@given(rows, st.sampled_from([None, 1, 3, 8]), st.data())
def test_what_is_known_is_attended_to_as_if_it_were_there(attention, ids, window, data):
    """A row whose beginnings are contexts, in pieces, gives for its tokens what the whole row gives."""
    torch.manual_seed(0)
    states = {heads: torch.randn(heads, 1000, 16) for heads in (2, 1)}

    def of(row, heads, salt):
        """States of a token by what it and its prefix are, so that they agree wherever it stands."""
        paths = {}
        for index, one in enumerate(ids):
            for position in range(len(one)):
                with contextlib.suppress(IndexError):
                    paths.setdefault(row.place(index, position), one[: position + 1])
        return torch.stack([states[heads][:, hash((salt, paths[place])) % 1000] for place in sorted(paths)], 1)

    packed = [array("i", one).tobytes() for one in ids]
    whole = pack(packed)
    query, key, value = of(whole, 2, 0), of(whole, 1, 1), of(whole, 1, 2)
    full = attention(whole, causal=True)(query, key, value, Rule(0.25, window))
    known = [data.draw(st.integers(0, len(one) - 1)) for one in ids]
    part = pack(packed, known)
    here = [at for at in range(len(part.token_ids))]
    owner = {part.place(i, p): (i, p) for i, one in enumerate(ids) for p in range(known[i], len(one))}
    places = [whole.place(*owner[at]) for at in here]
    contexts = []
    for context in part.contexts:
        index, _ = owner[context.start]
        held = [whole.place(index, position) for position in range(len(context.prefix) // 4)]
        cut = data.draw(st.integers(0, len(held)))
        pieces = [some for some in (held[:cut], held[cut:]) if some]
        contexts.append([[(key[:, some], value[:, some])] for some in pieces])
    found = attention(part, causal=True, contexts=contexts)(
        query[:, places], key[:, places], value[:, places], Rule(0.25, window)
    )
    assert torch.allclose(found, full[places], atol=1e-5)


def test_sliding_windows_reach_across_shared_prefixes(checkpoint):
    """A response right after a long prompt sees the window's worth of it, and no more."""
    folder = checkpoint("mistral")
    engine = engine_of(folder, prefix_cache_bytes=1 << 24)
    sequences = grouped(5, prompt=(SLIDING_WINDOW - 1, SLIDING_WINDOW * 3), response=(1, SLIDING_WINDOW * 2))
    for some in (sequences[:3], sequences[3:9], sequences):
        assert_right(compute(engine, [Query.of(one) for one in some]).answers, some, folder)


OUT_OF_MEMORY = """
import random, resource, sys
import numpy as np, torch
from engines import compute
from guerdon.domain.queries import Query
from guerdon.engines.settings import AdapterSettings, EngineSettings
from guerdon.engines.torch_engine import TorchEngine

engine = TorchEngine(EngineSettings(folder=sys.argv[1], device="cpu", threads=1, prefix_cache_bytes=int(sys.argv[2])))
random.seed(0)
queries = [Query.of([random.randrange(5, 55) for _ in range(500)]) for _ in range(160)]
alone = np.array([compute(engine, [query]).answers[0] for query in queries])
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (24 << 20), -1))
splits = []
while not splits or splits[-1]:
    done = compute(engine, queries)
    assert np.abs(np.array(done.answers) - alone).max() <= 1e-5 * np.abs(alone).max(), "scores changed"
    assert done.work.bisections == 0
    splits.append(done.work.memory_splits)
print("ok" if 1 < len(splits) < 5 else splits)
"""


@pytest.mark.parametrize("prefix_cache_bytes", [0, 1 << 22])
def test_out_of_memory_halves_the_batch_and_is_remembered(prefix_cache_bytes, checkpoint):
    """Under a real limit, a batch that does not fit is halved until it does, with the same scores; the next fits."""
    ran = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(checkpoint("llama")), str(prefix_cache_bytes)],
        capture_output=True, text=True, cwd=Path(__file__).parent, check=False,
    )  # fmt: skip
    assert ran.stdout == "ok\n", ran.stderr


@pytest.mark.parametrize(("architecture", "threads"), [("qwen3", 2), ("deberta-v2", 1)])
def test_a_compiled_model_gives_the_same_rewards(architecture, threads, checkpoint):
    """With ``compile``, in rows of many lengths, side by side and alone; nothing is compiled after the load."""
    folder = checkpoint(architecture)
    engine = engine_of(folder, compile=True, threads=threads, prefix_cache_bytes=1 << 20)
    several = [grouped(seed, groups=1 + seed, prompt=(3, 200), response=(2, 90)) for seed in range(4)]
    few = [[(7,)], [(7,), (8,)], [(7, 8, 9)], [(7, 8, 9)], [(7, 8, 9), (7, 8, 10)]]  # one new token, too
    with torch._dynamo.config.patch(error_on_recompile=True):
        for sequences in several + few:
            assert_right(compute(engine, [Query.of(one) for one in sequences]).answers, sequences, folder)


def test_compiled_adapters_are_all_compiled_at_load(checkpoint, tmp_path):
    """The base and each adapter give their own rewards, without another word of the compiler."""
    base = checkpoint("llama")
    adapters = {name: build_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate(("x", "y"), 1)}
    named = tuple(AdapterSettings(name=name, folder=str(folder)) for name, folder in adapters.items())
    engine = engine_of(base, adapters=named, compile=True, threads=1)
    for name in ("", "x", "y"):
        for one in ((5, 6, 7), (5,), tuple(range(5, 40))):
            with torch._dynamo.config.patch(error_on_recompile=True):
                answer = compute(engine, [Query.of(one, adapter=name)]).answers[0]
            right = reference_reward(base, one, adapter=adapters.get(name))
            assert answer == pytest.approx(right, rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("architecture", ["qwen3", "bert", "deberta-v2"])
def test_passes_side_by_side_answer_as_one_after_the_other(architecture, checkpoint):
    """Large batches are cut into rows that run on threads of their own: every answer is right, each given once."""
    folder = checkpoint(architecture)
    engine = engine_of(folder, threads=3, prefix_cache_bytes=1 << 22)
    sequences = grouped(7, groups=12, responses=4, prompt=(3, 100, 150), response=(1, 40, 90))
    for _ in range(3):
        assert_right(compute(engine, [Query.of(one) for one in sequences]).answers, sequences, folder)


@pytest.mark.parametrize("architecture", ["llama", "bert"])
def test_numbers_that_are_not_finite_stay_with_their_sequence(architecture, checkpoint, tmp_path):
    """A token whose embedding overflows spoils what it stands in, never a neighbour, in this batch or a later one."""
    folder = shutil.copytree(checkpoint(architecture), tmp_path / "spoilt")
    tensors = load_file(folder / "model.safetensors")
    (name,) = (name for name in tensors if name.endswith(("embed_tokens.weight", "word_embeddings.weight")))
    tensors[name][61] = torch.inf
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    engine = engine_of(folder, prefix_cache_bytes=1 << 22)
    sequences = [(7, 8, *range(10, 10 + length)) for length in (1, 5, 20)]
    bad = (7, 8, 61, 9)
    for _ in range(2):
        answers = compute(engine, [Query.of(one) for one in (*sequences[:2], bad, *sequences[2:])]).answers
        assert not np.isfinite(answers.pop(2)).any()
        assert_right(answers, sequences, folder)


def test_adapters_keep_their_own_prefixes(checkpoint, tmp_path):
    """One prompt under the base model and two adapters, from the cache the second time: each its own reward."""
    base = checkpoint("llama")
    adapters = {name: build_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate(("x", "y"), 1)}
    named = tuple(AdapterSettings(name=name, folder=str(folder)) for name, folder in adapters.items())
    engine = engine_of(base, adapters=named, prefix_cache_bytes=1 << 24)
    for ending in (50, 51, 52):
        one = (*range(5, 30), ending)
        for name in ("", "x", "y"):
            answer = compute(engine, [Query.of(one, adapter=name)]).answers[0]
            assert answer == pytest.approx(reference_reward(base, one, adapter=adapters.get(name)), rel=1e-5, abs=1e-5)


def test_what_is_kept_holds_no_more_memory_than_it_counts():
    """With one key head, a run of a row's keys is contiguous as it stands: it is copied all the same."""
    row = pack([array("i", one).tobytes() for one in ((1, 2, 3), (1, 2, 4, 5))])
    key = torch.randn(1, len(row.token_ids), 16)
    attention = SegmentAttention(row, causal=True, keep=True)
    attention(torch.randn(2, len(row.token_ids), 16), key, key, Rule(0.25))
    for (kept, _), segment in zip((held[0] for held in attention.kept), row.segments, strict=True):
        assert kept.untyped_storage().nbytes() == (segment.end - segment.start) * 16 * 4
