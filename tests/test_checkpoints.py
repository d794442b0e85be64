"""The tests' own ground: the tiny checkpoints are whole, and the oracle tells texts apart."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from checkpoints import (
    ARCHITECTURES,
    DECODERS,
    ENCODERS,
    SLIDING_WINDOW,
    build_adapter,
    build_backbone,
    build_checkpoint,
    build_headless_causal,
    build_pickle_checkpoint,
    build_remote_code_checkpoint,
    build_sentencepiece_checkpoint,
)
from oracle import reference_embedding, reference_ids, reference_reward, reference_type_ids

PROMPT = "How do I bake a loaf of bread?"
ANSWERS = ("Mix flour, water, salt and yeast.", "The moon goes around the earth.", "")
RENDERED = {
    "llama": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nYes<|eot_id|>",
    "qwen2": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>",
    "qwen3": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>",
    "gemma2": "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes<end_of_turn>",
    "gemma3": "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes<end_of_turn>",
    "mistral": "<s>[INST] Hi [/INST] Yes</s>",
}
SPECIALS_OF_A_PAIR = {
    "bert": ["[CLS]", "[SEP]", "[SEP]"],
    "roberta": ["<s>", "</s>", "</s>", "</s>"],
    "deberta-v2": ["[CLS]", "[SEP]", "[SEP]"],
    "modernbert": ["[CLS]", "[SEP]", "[SEP]"],
}
SEES_ALL = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", *ENCODERS)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder per architecture."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: build_checkpoint(name, root / name) for name in ARCHITECTURES}


def sample(architecture, answer, question="Hi"):
    """What `reference_ids` takes: messages for a chat model, a pair for the others."""
    if architecture in ENCODERS:
        return question, answer
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def random_ids(folder, length):
    """Token ids with nothing special among them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    picks = torch.randint(len(plain), (length,), generator=torch.Generator().manual_seed(1))
    return [plain[pick] for pick in picks]


def rewards_after_a_change(folder, length, position):
    """The rewards of a random text and of the same text with one token replaced."""
    ids = random_ids(folder, length)
    changed = list(ids)
    changed[position] = next(token for token in random_ids(folder, 500) if token != ids[position])
    return reference_reward(folder, ids), reference_reward(folder, changed)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_loads_with_every_weight_in_its_place(checkpoints, architecture):
    """Nothing is missing, left over or of another shape."""
    model, found = AutoModelForSequenceClassification.from_pretrained(
        checkpoints[architecture], output_loading_info=True
    )
    assert not any(found.values())
    assert model.config.num_labels == 1


def test_gemma_3_is_the_text_classifier(checkpoints):
    """The auto class picks the class without a vision tower."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints["gemma3"])
    assert type(model).__name__ == "Gemma3TextForSequenceClassification"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_different_answers_get_different_finite_rewards(checkpoints, architecture):
    """Two answers to one prompt differ by far more than the tolerance of the parity tests."""
    folder = checkpoints[architecture]
    rewards = [
        reference_reward(folder, reference_ids(folder, sample(architecture, answer, PROMPT)))[0] for answer in ANSWERS
    ]
    assert all(map(math.isfinite, rewards))
    assert min(abs(a - b) for i, a in enumerate(rewards) for b in rewards[:i]) > 1e-2


@pytest.mark.parametrize("architecture", SEES_ALL)
def test_a_far_token_changes_the_reward(checkpoints, architecture):
    """A token 60 positions from where the reward is read counts where attention is full."""
    position = 60 if architecture in ENCODERS else 3
    before, after = rewards_after_a_change(checkpoints[architecture], 64, position)
    assert abs(before[0] - after[0]) > 1e-4


def test_two_sliding_layers_reach_two_windows_back_and_no_further(checkpoints):
    """Mistral's tokens beyond layers x (window - 1) do not count; those just inside do."""
    length, reach = 64, 2 * (SLIDING_WINDOW - 1)
    before, beyond = rewards_after_a_change(checkpoints["mistral"], length, length - 2 - reach)
    assert before == beyond
    before, inside = rewards_after_a_change(checkpoints["mistral"], length, length - 1 - reach)
    assert before != inside


@pytest.mark.parametrize("architecture", ("gemma2", "gemma3", "mistral", "modernbert"))
def test_the_window_is_smaller_than_the_test_texts(checkpoints, architecture):
    """A forward that ignores the window gives another reward."""
    folder, ids = checkpoints[architecture], random_ids(checkpoints[architecture], 64)
    window = "local_attention" if architecture == "modernbert" else "sliding_window"
    unlimited = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", **{window: 4096}
    )
    with torch.no_grad():
        reward = unlimited(torch.tensor([ids])).logits[0, 0].item()
    assert abs(reward - reference_reward(folder, ids)[0]) > 1e-3


def test_the_soft_cap_of_gemma_2_counts(checkpoints):
    """A forward without the cap gives another reward."""
    folder, ids = checkpoints["gemma2"], random_ids(checkpoints["gemma2"], 40)
    uncapped = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_logit_softcapping=None, attn_implementation="eager"
    )
    with torch.no_grad():
        reward = uncapped(torch.tensor([ids])).logits[0, 0].item()
    assert abs(reward - reference_reward(folder, ids)[0]) > 1e-3


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_conversation_is_rendered_with_exactly_its_specials(checkpoints, architecture):
    """One BOS where the family has one, and the end token last."""
    folder = checkpoints[architecture]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = reference_ids(folder, sample(architecture, "Yes"))
    assert ids == tokenizer(RENDERED[architecture], add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == (tokenizer.bos_token_id is not None)
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("architecture", ("llama", "gemma2", "gemma3", "mistral"))
def test_a_careless_caller_gets_two_bos(checkpoints, architecture):
    """Rendering and tokenizing apart doubles the BOS: the trap is set in these checkpoints."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[architecture])
    assert tokenizer(RENDERED[architecture])["input_ids"][:2] == [tokenizer.bos_token_id] * 2


@pytest.mark.parametrize("architecture", ENCODERS)
def test_a_pair_is_tokenized_with_exactly_its_specials(checkpoints, architecture):
    """As the family was trained: where the second text starts and which type its tokens have."""
    folder = checkpoints[architecture]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pair = (PROMPT, ANSWERS[0])
    ids = reference_ids(folder, pair)
    specials = [token for token in tokenizer.convert_ids_to_tokens(ids) if token in tokenizer.all_special_tokens]
    assert tokenizer.chat_template is None
    assert specials == SPECIALS_OF_A_PAIR[architecture]
    types = reference_type_ids(folder, pair)
    assert types is None or set(types) == ({0, 1} if architecture in ("bert", "deberta-v2") else {0})


@pytest.mark.parametrize("architecture", DECODERS)
def test_pad_may_be_eos(tmp_path, architecture):
    """Both files say so, and the reward is that of the checkpoint with a pad of its own."""
    folder = build_checkpoint(architecture, tmp_path / "same", pad_is_eos=True)
    usual = build_checkpoint(architecture, tmp_path / "usual")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = reference_ids(folder, sample(architecture, ANSWERS[0]))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == model.config.pad_token_id == ids[-1]
    assert reference_reward(folder, ids) == pytest.approx(reference_reward(usual, ids), abs=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_labels_seeds_and_templates_are_as_asked(tmp_path, architecture):
    """Three labels give three numbers, another seed others; the template can be turned round."""
    template = architecture in ENCODERS
    first, second = (
        build_checkpoint(architecture, tmp_path / str(seed), num_labels=3, seed=seed, chat_template=template)
        for seed in (0, 1)
    )
    ids = random_ids(first, 12)
    assert len(reference_reward(first, ids)) == 3
    assert reference_reward(first, ids) != reference_reward(second, ids)
    assert (AutoTokenizer.from_pretrained(first).chat_template is not None) == template


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_adapter_changes_the_reward(checkpoints, tmp_path, architecture):
    """LoRA weights and the saved score head both act, and another seed is another adapter."""
    folder = checkpoints[architecture]
    ids = random_ids(folder, 12)
    first, second = (build_adapter(folder, tmp_path / str(seed), seed=seed) for seed in (0, 1))
    rewards = {reference_reward(folder, ids, adapter=adapter)[0] for adapter in (None, first, second)}
    assert len(rewards) == 3


def test_a_backbone_has_no_head_and_gives_embeddings(tmp_path):
    """Its weights are those of a bare BERT, and each layer has its own mean."""
    folder = build_backbone(tmp_path / "backbone", layers=4)
    _, found = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values())
    ids = reference_ids(folder, (PROMPT, ANSWERS[0]))
    second, fourth = reference_embedding(folder, ids, 2), reference_embedding(folder, ids, 4)
    assert second.shape == fourth.shape == (32,)
    assert not (second == fourth).all()


def test_a_language_model_has_no_score_head(tmp_path):
    """The classifier that transformers makes of it misses exactly its head."""
    folder = build_headless_causal(tmp_path / "causal")
    _, found = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert found["missing_keys"] == {"score.weight"}


def test_a_pickle_checkpoint_holds_no_safetensors(tmp_path):
    """Its weights can be had by unpickling only."""
    folder = build_pickle_checkpoint(tmp_path / "pickle")
    assert (folder / "pytorch_model.bin").exists()
    assert not list(folder.glob("*.safetensors"))


def test_a_remote_code_checkpoint_needs_its_own_code(tmp_path):
    """Without trust it is refused, and its code is not run."""
    folder = build_remote_code_checkpoint(tmp_path / "remote")
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)


def test_a_sentencepiece_checkpoint_tokenizes_without_tokenizer_json(tmp_path):
    """transformers reads `tokenizer.model`, adds one BOS and marks the first word."""
    folder = build_sentencepiece_checkpoint(tmp_path / "sentencepiece")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not (folder / "tokenizer.json").exists()
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("The capital 東")["input_ids"])
    assert tokens[:2] == ["<s>", "▁The"]
    assert tokens[-3:] == ["<0xE6>", "<0x9D>", "<0xB1>"]
    assert math.isfinite(reference_reward(folder, tokenizer(PROMPT)["input_ids"])[0])
