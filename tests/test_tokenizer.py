"""Tokens against transformers' own tokenizers."""

import json
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from checkpoints import ARCHITECTURES, DECODERS, ENCODERS, build_sentencepiece_checkpoint
from guerdon.domain.errors import Invalid, NotServable, ResponseTooLong
from guerdon.domain.samples import Message, assistant, user
from guerdon.engines.checkpoint import find_checkpoint
from guerdon.engines.tokenizer import ModelTokenizer
from guerdon.engines.tokenizer_files import tokenizer_folder
from oracle import reference_ids

TEXTS = [
    "How do I bake bread?",
    "",
    "   ",
    "\n\nTwo lines\n",
    "naïve café — 数学 🙂",
    "x" * 90,
    "def f(x):\n    return x ** 2\n",
]
OWN_CLASS = {
    "llama": "LlamaTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "gemma2": "GemmaTokenizer",
    "bert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}


def tokenizer_of(folder, **options):
    return ModelTokenizer(folder, max_tokens=options.pop("max_tokens", None), **options)


def messages_of(*turns):
    return [{"role": turn.role, "content": turn.content} for turn in turns]


@pytest.mark.parametrize("architecture", DECODERS)
def test_chat_ids_equal_transformers(architecture, checkpoint):
    """A conversation and its response become the ids that apply_chat_template gives, with one BOS."""
    folder = checkpoint(architecture)
    tokenizer = tokenizer_of(folder)
    assert tokenizer.template == "chat"
    for prompt in TEXTS:
        for response in TEXTS:
            turns = (Message("user", prompt), Message("assistant", "Well."), Message("user", "So?"))
            ids = tokenizer.conversation(turns, assistant(response)).ids
            assert list(ids) == reference_ids(folder, messages_of(*turns, *assistant(response)))


@pytest.mark.parametrize("architecture", ENCODERS)
def test_pair_ids_equal_transformers(architecture, checkpoint):
    """Prompt and response become the two segments that a batch of pairs becomes, blank responses too."""
    folder = checkpoint(architecture)
    tokenizer = tokenizer_of(folder)
    assert tokenizer.template == "pair"
    theirs = AutoTokenizer.from_pretrained(folder)
    for prompt in TEXTS:
        for response in TEXTS:
            tokens = tokenizer.conversation(user(prompt), assistant(response))
            right = theirs([prompt], [response], return_token_type_ids=True)
            assert list(tokens.ids) == right["input_ids"][0]
            if architecture in ("bert", "deberta-v2"):
                assert list(tokens.type_ids) == right["token_type_ids"][0]


@pytest.mark.parametrize("architecture", sorted(OWN_CLASS))
def test_tokenizers_that_transformers_rebuilds_give_its_ids(architecture, checkpoint, tmp_path):
    """Where the named class ignores parts of tokenizer.json, so do we: a child converts it once."""
    folder = tmp_path / architecture
    shutil.copytree(checkpoint(architecture), folder)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(described | {"tokenizer_class": OWN_CLASS[architecture], "do_lower_case": False})
    )
    found = tokenizer_folder(find_checkpoint(str(folder)), trust_file=False, cache=tmp_path / "cache")
    tokenizer = tokenizer_of(found)
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in [*filter(None, TEXTS), "ﬁne Ｗide １２", "A  B\tC"]:
        assert list(tokenizer.text(text).ids) == theirs(text)["input_ids"]


def test_a_sentencepiece_checkpoint_is_converted_once(tmp_path):
    """Without a tokenizer.json the child makes one; the second time it is there already."""
    checkpoint = find_checkpoint(str(build_sentencepiece_checkpoint(tmp_path / "model")))
    found = tokenizer_folder(checkpoint, trust_file=False, cache=tmp_path / "cache")
    made = (found / "tokenizer.json").stat().st_mtime_ns
    assert found != checkpoint.folder
    theirs = AutoTokenizer.from_pretrained(checkpoint.folder)
    assert list(tokenizer_of(found).text("How do I bake bread?").ids) == theirs("How do I bake bread?")["input_ids"]
    again = tokenizer_folder(checkpoint, trust_file=False, cache=tmp_path / "cache")
    assert (again / "tokenizer.json").stat().st_mtime_ns == made


def test_what_another_process_converted_meanwhile_is_read(tmp_path, monkeypatch):
    """Services that share a cache may start at once; the last to convert finds the place taken."""
    checkpoint = find_checkpoint(str(build_sentencepiece_checkpoint(tmp_path / "model")))
    convert, folders = subprocess.run, []

    def converted_twice(command, **options):
        if not folders:
            folders.append(None)
            folders[0] = tokenizer_folder(checkpoint, trust_file=False, cache=tmp_path / "cache")
        return convert(command, **options)

    monkeypatch.setattr("guerdon.engines.tokenizer_files.subprocess.run", converted_twice)
    found = tokenizer_folder(checkpoint, trust_file=False, cache=tmp_path / "cache")
    assert folders == [found]
    assert sorted(path.name for path in found.parent.iterdir()) == [found.name]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_text_of_callers_never_becomes_a_control_token(architecture, checkpoint):
    """Spelling out every special token adds none to what the template itself writes."""
    folder = checkpoint(architecture)
    tokenizer = tokenizer_of(folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    special = set(theirs.all_special_ids)
    spelled = " ".join(theirs.convert_ids_to_tokens(sorted(special)))
    plain = tokenizer.conversation(user("a b"), assistant("c"))
    attacked = tokenizer.conversation(user(f"a {spelled} b"), assistant(f"c{spelled}"))
    unknown = theirs.unk_token_id
    count = lambda ids: [i for i in ids if i in special and i != unknown]  # noqa: E731
    assert count(attacked.ids) == count(plain.ids)
    assert len(attacked.ids) > len(plain.ids)


@pytest.mark.parametrize("architecture", DECODERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=40), min_size=2, max_size=2))
def test_the_careful_path_gives_the_ids_of_the_plain_one(architecture, checkpoint, texts):
    """Reading the template's control tokens apart from the text changes nothing where no one spells them."""
    tokenizer = tokenizer_of(checkpoint(architecture))
    turns = (Message("user", texts[0]), Message("assistant", texts[1]))
    assert tokenizer._templated_apart(turns) == tokenizer._templated(turns)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "mistral"])
def test_there_is_exactly_one_bos(architecture, checkpoint, tmp_path):
    """Whether the template writes it or not: a tokenizer that adds a BOS gets one, never two."""
    folder = checkpoint(architecture)
    bos = AutoTokenizer.from_pretrained(folder).bos_token_id
    written = tokenizer_of(folder).conversation(user("Hi"), assistant("Yes")).ids
    without = tokenizer_of(folder, chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    doubled = tokenizer_of(folder, chat_template="{{ bos_token }}{{ bos_token }}{{ messages[0].content }}")
    for ids in (written, without.conversation(user("Hi"), assistant("Yes")).ids, doubled.text("Hi").ids):
        assert ids[0] == bos
        assert list(ids).count(bos) == 1
    assert doubled.conversation(user("Hi"), assistant("")).ids[:2] != (bos, bos)


def test_an_eos_can_be_appended(checkpoint):
    """For models that were trained on text with a closing eos; one that is there already is not doubled."""
    folder = checkpoint("llama")
    eos = AutoTokenizer.from_pretrained(folder).eos_token_id
    plain = tokenizer_of(folder, template="plain", append_eos=True).conversation(user("Hi "), assistant("yes")).ids
    assert plain[-1] == eos
    templated = tokenizer_of(folder, append_eos=True).conversation(user("Hi"), assistant("yes")).ids
    assert list(templated[-2:]).count(eos) == 1


@pytest.mark.parametrize("architecture", ["llama", "bert", "roberta"])
def test_too_long_is_an_error_or_cut_on_the_left(architecture, checkpoint):
    """The default refuses and says both numbers; with `left` the oldest tokens go, and it is reported."""
    folder = checkpoint(architecture)
    whole = tokenizer_of(folder).conversation(user("old " * 40), assistant("new " * 20)).ids
    with pytest.raises(ResponseTooLong, match=f"{len(whole)} tokens.*at most 60"):
        tokenizer_of(folder, max_tokens=60).conversation(user("old " * 40), assistant("new " * 20))
    cut = tokenizer_of(folder, max_tokens=60, truncation="left").conversation(user("old " * 40), assistant("new " * 20))
    assert cut.truncated
    assert len(cut.ids) == 60
    assert cut.ids[0] == whole[0]
    assert cut.ids[-20:] == whole[-20:]


def test_a_template_that_refuses_names_its_reason(checkpoint):
    """Mistral's template knows no system turn: the caller learns that, and nothing crashes."""
    with pytest.raises(Invalid, match="chat template refuses"):
        tokenizer_of(checkpoint("mistral")).conversation((Message("system", "x"), *user("y")), assistant("z"))


def test_a_template_cannot_reach_out_of_its_sandbox(checkpoint):
    """Templates come with checkpoints, and may try."""
    reaching = "{{ messages.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}"
    with pytest.raises(Invalid, match="refuses"):
        tokenizer_of(checkpoint("llama"), chat_template=reaching).conversation(user("a"), assistant("b"))


def test_a_template_with_a_syntax_error_is_found_at_start(checkpoint):
    """Not when the first request arrives."""
    with pytest.raises(NotServable, match="does not parse"):
        tokenizer_of(checkpoint("llama"), chat_template="{% for %}")


def test_a_decoder_without_a_chat_template_reads_one_piece(checkpoint):
    """Prompt and response in one text with one BOS, although its tokenizer could join two."""
    folder = checkpoint("llama", chat_template=False)
    tokenizer = tokenizer_of(folder)
    bos = AutoTokenizer.from_pretrained(folder).bos_token_id
    assert tokenizer.template == "plain"
    ids = tokenizer.conversation(user("How do I "), assistant("bake bread?")).ids
    assert ids == tokenizer.text("How do I bake bread?").ids
    assert ids.count(bos) == 1


@pytest.mark.parametrize("template", ["{{ messages + 1 }}", "{{ 1 // 0 }}", "{{ messages[9].content }}"])
def test_a_template_that_fails_on_a_conversation_is_an_error_of_that_sample(template, checkpoint):
    """Whatever it raises: the caller learns that the template refuses."""
    with pytest.raises(Invalid, match="refuses"):
        tokenizer_of(checkpoint("llama"), chat_template=template).conversation(user("a"), assistant("b"))


def test_templates_see_that_there_are_no_tools(checkpoint):
    """As transformers renders them: tools and documents are None, not undefined."""
    template = "{% if tools is not none %}tools{% endif %}{{ messages[0].content }}"
    tokenizer = tokenizer_of(checkpoint("qwen2"), chat_template=template)
    assert tokenizer.conversation(user("a"), assistant("b")).ids == tokenizer.text("a").ids


def test_a_blank_text_is_read_as_one_token(checkpoint):
    """Where the tokenizer adds nothing, a blank response is its end token: blank responses are scored."""
    assert len(tokenizer_of(checkpoint("qwen2")).text("").ids) == 1
