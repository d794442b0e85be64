"""Tiny tokenizers for the tests' checkpoints, trained here on a built-in text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertTokenizer,
    DebertaV2Tokenizer,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    RobertaTokenizer,
)

CORPUS = (
    "The capital of France is Paris, and the capital of Japan is Tokyo.",
    "How do I bake a loaf of bread? Mix flour, water, salt and yeast, then let the dough rest.",
    "I cannot help with that request, but here is a safer way to reach the same goal.",
    "A prime number has exactly two divisors: one and itself. 2, 3, 5, 7 and 11 are prime.",
    "Water boils at 100 degrees Celsius at sea level and at a lower temperature on a mountain.",
    "def add(left, right):\n    return left + right\n",
    "Please answer the user's question clearly, honestly and in as few words as you need.",
    "It's raining; we'll stay at home, read a book and drink tea until the weather is better.",
    "The quick brown fox jumps over the lazy dog while the other dogs are sleeping.",
    "Élève, naïve, Größe, señor, 東京, привет: words from other alphabets are tokens too.",
    "To reset the password, open the settings, choose security and follow the instructions.",
    "The moon goes around the earth, the earth goes around the sun, and all of them are moving.",
)

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

_LLAMA_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
_CHATML_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}
    {{- '' if loop.last else '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '\\n<|im_start|>assistant\\n' }}
{%- endif %}
"""
_GEMMA_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- raise_exception('System role not supported') }}
    {%- endif %}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>' }}
    {{- '' if loop.last else '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '\\n<start_of_turn>model\\n' }}
{%- endif %}
"""
_MISTRAL_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported') }}
    {%- endif %}
{%- endfor %}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFamily:
    """How one family tokenizes: what is trained, which class saves it, what its specials are."""

    train: Callable[[], Tokenizer]
    saved_by: type[PreTrainedTokenizerFast]
    named: dict[str, str]
    extra: tuple[str, ...] = ()
    template: str | None = None
    template_in_own_file: bool = True
    settings: dict[str, object] = field(default_factory=dict)


@cache
def trained(family: str) -> Tokenizer:
    """The tokenizers-library tokenizer of a family, trained once per process. Do not change it."""
    return FAMILIES[family].train()


def tokenizer_of(
    family: str, *, pad_is_eos: bool = False, chat_template: bool | None = None
) -> PreTrainedTokenizerFast:
    """A fresh tokenizer to save. `chat_template` None: a template where the family has one."""
    spec = FAMILIES[family]
    named = spec.named | ({"pad_token": spec.named["eos_token"]} if pad_is_eos else {})
    template = spec.template or (_CHATML_TEMPLATE if chat_template else None)
    return spec.saved_by(
        tokenizer_object=trained(family),
        extra_special_tokens=list(spec.extra),
        chat_template=None if chat_template is False else template,
        model_max_length=512,
        **named,
        **spec.settings,
    )


def _specials(tokens: Sequence[str]) -> list[AddedToken]:
    return [AddedToken(token, normalized=False, special=True) for token in tokens]


def _byte_level_bpe(specials: Sequence[str], *, split: str | None = None, vocab_size: int = 420) -> Tokenizer:
    """Byte-level BPE as in GPT-2 (no `split`), Llama 3 and Qwen; no post-processor yet."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    tokenizer.pre_tokenizer = (
        byte_level
        if split is None
        else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), behavior="isolated"), byte_level])
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_specials(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _with_bos(tokenizer: Tokenizer, bos: str) -> processors.TemplateProcessing:
    """What Llama 3 ships: BOS before each text of a pair, so a careless caller gets two."""
    return processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def _cls_sep(tokenizer: Tokenizer, second_type: int) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B:{second_type} [SEP]:{second_type}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )


_LLAMA_EXTRA = ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>")
_MISTRAL_EXTRA = ("[INST]", "[/INST]")
_GEMMA_SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
_BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def _train_llama() -> Tokenizer:
    specials = ("<|begin_of_text|>", *_LLAMA_EXTRA, "<|eot_id|>", "<|finetune_right_pad_id|>")
    tokenizer = _byte_level_bpe(specials, split=_LLAMA3_SPLIT)
    byte_level = processors.ByteLevel(trim_offsets=False)
    tokenizer.post_processor = processors.Sequence([byte_level, _with_bos(tokenizer, "<|begin_of_text|>")])
    return tokenizer


def _train_mistral() -> Tokenizer:
    tokenizer = _byte_level_bpe(("<unk>", "<s>", "</s>", *_MISTRAL_EXTRA, "<pad>"), split=_LLAMA3_SPLIT)
    tokenizer.post_processor = _with_bos(tokenizer, "<s>")
    return tokenizer


def _train_qwen() -> Tokenizer:
    tokenizer = _byte_level_bpe(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), split=_QWEN2_SPLIT)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _train_gemma() -> Tokenizer:
    """Gemma's own kind: ▁ for spaces, and letters that are not in the vocabulary become bytes."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*_GEMMA_SPECIALS, *byte_tokens],
        limit_alphabet=90,
        show_progress=False,
    )
    learner.train_from_iterator(CORPUS, trainer)

    learned = learner.model
    tokenizer = Tokenizer(learned)
    learned.byte_fallback, learned.fuse_unk, learned.unk_token = True, True, "<unk>"
    tokenizer.model = learned
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(_specials(_GEMMA_SPECIALS))
    tokenizer.post_processor = _with_bos(tokenizer, "<bos>")
    return tokenizer


def _train_bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=_specials(_BERT_SPECIALS), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = _cls_sep(tokenizer, second_type=1)
    return tokenizer


def _train_roberta() -> Tokenizer:
    tokenizer = _byte_level_bpe(_ROBERTA_SPECIALS)
    cls, sep = (("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>")))
    tokenizer.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    return tokenizer


def _train_deberta() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
            normalizers.NFC(),
            normalizers.Strip(left=False, right=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=_specials(_BERT_SPECIALS),
        unk_token="[UNK]",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = _cls_sep(tokenizer, second_type=1)
    return tokenizer


def _train_modernbert() -> Tokenizer:
    tokenizer = _byte_level_bpe(_BERT_SPECIALS)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = _cls_sep(tokenizer, second_type=0)
    return tokenizer


_BERT_NAMED = dict(
    zip(
        ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
        _BERT_SPECIALS,
        strict=True,
    )
)
FAMILIES = {
    "llama": TokenizerFamily(
        train=_train_llama,
        saved_by=PreTrainedTokenizerFast,
        named={
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|finetune_right_pad_id|>",
        },
        extra=_LLAMA_EXTRA,
        template=_LLAMA_TEMPLATE,
    ),
    "qwen": TokenizerFamily(
        train=_train_qwen,
        saved_by=Qwen2Tokenizer,
        named={
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
        },
        extra=("<|im_start|>",),
        template=_CHATML_TEMPLATE,
    ),
    "gemma": TokenizerFamily(
        train=_train_gemma,
        saved_by=GemmaTokenizer,
        named={
            "bos_token": "<bos>",
            "eos_token": "<end_of_turn>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
        },
        extra=("<start_of_turn>", "<eos>"),
        template=_GEMMA_TEMPLATE,
    ),
    "mistral": TokenizerFamily(
        train=_train_mistral,
        saved_by=PreTrainedTokenizerFast,
        named={"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        extra=_MISTRAL_EXTRA,
        template=_MISTRAL_TEMPLATE,
        template_in_own_file=False,
    ),
    "bert": TokenizerFamily(
        train=_train_bert,
        saved_by=BertTokenizer,
        named=_BERT_NAMED,
        settings={"do_lower_case": True},
    ),
    "roberta": TokenizerFamily(
        train=_train_roberta,
        saved_by=RobertaTokenizer,
        named={"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
        | {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"},
    ),
    "deberta": TokenizerFamily(
        train=_train_deberta,
        saved_by=DebertaV2Tokenizer,
        named=_BERT_NAMED | {"bos_token": "[CLS]", "eos_token": "[SEP]"},
    ),
    "modernbert": TokenizerFamily(train=_train_modernbert, saved_by=PreTrainedTokenizerFast, named=_BERT_NAMED),
}
