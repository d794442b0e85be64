"""Configurations, right and wrong: a wrong one names the key, and what would be right."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from checkpoints import (
    build_adapter,
    build_backbone,
    build_headless_causal,
    build_pickle_checkpoint,
    build_remote_code_checkpoint,
)
from engines import compute
from guerdon.config.load import load, overridden
from guerdon.domain.errors import NotServable
from guerdon.domain.queries import Query
from guerdon.engines.checkpoint import find_checkpoint
from guerdon.engines.torch_engine import TorchEngine
from guerdon.scorers.heads import Head, save_head
from guerdon.wiring import plan
from running import serving


@pytest.fixture
def planned(tmp_path, cache):
    """Write a configuration, load it as `serve` does, and plan it."""

    def make(settings, environment=None):
        file = tmp_path / "guerdon.yaml"
        file.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
        config, base = load(file, environment or {})
        return plan(config, base=base, cache=cache)

    return make


def refused(planned, settings, environment=None):
    with pytest.raises(NotServable) as error:
        planned(settings, environment)
    return str(error.value)


def scorer(model, **more):
    return {"kind": "reward_model", "model": str(model), "placement": "inline", **more}


WRONG = {
    "a typo at the top": ({"scorer": {}}, "unknown key `scorer`; did you mean `scorers`?"),
    "a typo in a scorer": (
        {"scorers": {"a": scorer("x", dtpye="float32")}},
        "scorers.a: unknown key `dtpye`; did you mean `dtype`?",
    ),
    "a typo in the limits": ({"scorers": {"a": scorer("x")}, "limits": {"max_bdy": 1}}, "did you mean `max_body`?"),
    "no scorers": ({"scorers": {}}, "scorers: "),
    "an unknown kind": ({"scorers": {"a": {"kind": "reward"}}}, "'reward_model'"),
    "an unknown dtype": ({"scorers": {"a": scorer("x", dtype="int8")}}, "scorers.a.dtype"),
    "an unknown device": ({"scorers": {"a": scorer("x", device="gpu")}}, "scorers.a.device"),
    "a name with a dot": ({"scorers": {"a.b": scorer("x")}}, "scorers"),
    "one name twice": (
        {"scorers": {"a": scorer("x")}, "ensembles": {"a": {"members": ["a"]}}},
        "both a scorer and an ensemble",
    ),
    "a bad size": ({"scorers": {"a": scorer("x")}, "limits": {"max_body": "8 parsecs"}}, "limits.max_body"),
    "a std of zero": ({"scorers": {"a": scorer("x", calibration={"mean": 0, "std": 0})}}, "scorers.a.calibration.std"),
    "an unknown aggregation": (
        {"scorers": {"a": scorer("x")}, "ensembles": {"e": {"members": ["a"], "aggregation": {"method": "max"}}}},
        "ensembles.e.aggregation.method",
    ),
    "no map": ("- a\n- b\n", "not a map"),
    "no YAML": ("a: [", "not valid YAML"),
    "a key twice": ("scorers: {}\nscorers: {}\n", "the key `scorers` stands twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_names_the_key(case, planned):
    """And the nearest valid one, where there is one."""
    settings, words = WRONG[case]
    assert words in refused(planned, settings)


def test_a_missing_file_is_said_plainly(tmp_path):
    """The path, and that it is not there."""
    with pytest.raises(NotServable, match=r"nowhere\.yaml: No such file"):
        load(tmp_path / "nowhere.yaml", {})


def test_the_environment_overrides_the_file(planned, checkpoint):
    """Whatever the case of names in the file; values are read as YAML; a wrong key is as wrong as in the file."""
    settings = {"scorers": {"Mine": scorer(checkpoint("bert"), max_tokens=100)}}
    made = planned(
        settings, {"GUERDON_SCORERS__MINE__MAX_TOKENS": "60", "GUERDON_LIMITS__MAX_BODY": "1MiB", "HOME": "/"}
    )
    assert made.models["Mine"].max_tokens == 60
    assert made.config.limits.max_body == 1 << 20
    assert "did you mean `max_tokens`" in refused(planned, settings, {"GUERDON_SCORERS__MINE__MAX_TOKEN": "60"})
    assert overridden({}, {"GUERDON_A__B": "{c: 1}"}) == {"a": {"b": {"c": 1}}}


def test_a_folder_without_a_model_is_refused(planned, tmp_path):
    """It says what is missing; a name that is neither folder nor hub id says that."""
    (tmp_path / "empty").mkdir()
    assert "no model here: the folder has no config.json" in refused(
        planned, {"scorers": {"a": scorer(tmp_path / "empty")}}
    )
    assert "there is no such folder" in refused(planned, {"scorers": {"a": scorer(tmp_path / "nowhere")}})


def test_a_checkpoint_that_needs_remote_code_is_refused(planned, tmp_path):
    """Before anything of it is run."""
    folder = build_remote_code_checkpoint(tmp_path / "remote")
    assert "needs code of its own (`auto_map` in config.json)" in refused(planned, {"scorers": {"a": scorer(folder)}})


def test_a_pickle_checkpoint_is_refused(planned, tmp_path):
    """It names the file, and how to convert it; an adapter's pickle too."""
    folder = build_pickle_checkpoint(tmp_path / "pickle")
    assert "only pickled weights (pytorch_model.bin)" in refused(planned, {"scorers": {"a": scorer(folder)}})


def test_a_pickled_adapter_is_refused(planned, checkpoint, tmp_path):
    """Adapters are held to the same rule as models."""
    adapter = build_adapter(checkpoint("llama"), tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    message = refused(planned, {"scorers": {"a": scorer(checkpoint("llama"), adapter=str(adapter))}})
    assert "only pickled weights (adapter_model.bin)" in message


def test_a_model_without_a_trained_head_stops_the_server(tmp_path):
    """What only loading shows is said by `serve`, which then ends with status 1."""
    folder = build_headless_causal(tmp_path / "causal")
    with (
        pytest.raises(AssertionError, match=r"not a trained sequence classifier: the checkpoint has no score\.weight"),
        serving({"scorers": {"a": {**scorer(folder), "placement": "process"}}}, tmp_path),
    ):
        pass


def test_weights_with_another_hash_are_refused(planned, tmp_path):
    """A pinned backbone is the one that was pinned."""
    folder = build_backbone(tmp_path / "backbone")
    settings = {
        "scorers": {"r": {"kind": "relevance", "backbone": str(folder), "sha256": "0" * 64, "placement": "inline"}}
    }
    assert "the configuration expects 000" in refused(planned, settings)


def test_an_ensemble_of_unlike_scales_is_refused(planned, checkpoint):
    """Members need a calibration, or the explicit word that their scales agree."""
    one, two = scorer(checkpoint("bert")), scorer(checkpoint("bert", seed=1))
    settings = {"scorers": {"a": one, "b": two}, "ensembles": {"e": {"members": ["a", "b"]}}}
    assert "a, b has no calibration" in refused(planned, settings)
    settings["ensembles"]["e"]["calibration"] = "none"
    assert planned(settings).models["e"].aggregation is not None


def test_an_unknown_member_is_refused_with_the_nearest_one(planned, checkpoint):
    """Ensembles of ensembles are refused the same way."""
    settings = {"scorers": {"alpha": scorer(checkpoint("bert"))}, "ensembles": {"e": {"members": ["alhpa"]}}}
    assert "alhpa is no scorer or head; did you mean alpha?" in refused(planned, settings)


def test_a_label_must_exist(planned, checkpoint):
    """By name or by number."""
    model = checkpoint("bert", num_labels=3)
    assert "has no output 7" in refused(planned, {"scorers": {"a": scorer(model, label=7)}})
    assert "a" in planned({"scorers": {"a": scorer(model, label="LABEL_2")}}).models
    assert "a" not in planned({"scorers": {"a": scorer(model)}}).models


def test_adapters_of_one_base_share_an_engine(planned, checkpoint, tmp_path):
    """Three scorers over one base, two of them with adapters: one engine; other dtypes need their own."""
    base = checkpoint("llama")
    adapters = [build_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate(("x", "y"), 1)]
    described = json.loads((adapters[1] / "adapter_config.json").read_text())
    (adapters[1] / "adapter_config.json").write_text(json.dumps(described | {"base_model_name_or_path": str(base)}))
    scorers = {
        "base": scorer(base),
        "x": scorer(base, adapter=str(adapters[0])),
        "y": scorer(adapters[1]),
        "half": scorer(base, dtype="bfloat16"),
    }
    made = planned({"scorers": scorers})
    assert [len(engine.settings.adapters) for engine in made.engines] == [2, 0]
    assert len({model.revision for model in made.models.values()}) == 4


def test_what_changes_a_score_changes_the_revision(planned, checkpoint, tmp_path):
    """Weights, dtype, template, truncation and length are part of a model's identity; its folder's name is not."""
    base = checkpoint("qwen2")
    moved = Path(shutil.copytree(base, tmp_path / "moved"))
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages[-1].content }}")
    variants = [
        scorer(base),
        scorer(base, dtype="bfloat16"),
        scorer(base, truncation="left"),
        scorer(base, max_tokens=64),
        scorer(base, chat_template="t.jinja"),
        scorer(checkpoint("qwen2", seed=5)),
    ]
    revisions = [planned({"scorers": {"a": variant}}).models["a"].revision for variant in variants]
    assert len(set(revisions)) == len(variants)
    assert planned({"scorers": {"b": scorer(moved)}}).models["b"].revision == revisions[0]


def test_heads_must_fit_their_backbone(planned, tmp_path):
    """A head of another width, or of a layer that is not there, is refused at start; heads of one kind go together."""
    folder = build_backbone(tmp_path / "backbone")
    hidden = json.loads((folder / "config.json").read_text())["hidden_size"]

    def head(width, *features, pooling="mean"):
        made = Head(
            weights=(np.ones((1, width), "f4"),), biases=(np.zeros(1, "f4"),), features=features, pooling=pooling
        )
        save_head(tmp_path / f"{features[0]}{width}{pooling}.safetensors", made)
        return f"{features[0]}{width}{pooling}.safetensors"

    def settings(*files):
        heads = {f"h{index}": file for index, file in enumerate(files)}
        return {"scorers": {"x": {"kind": "head_ensemble", "backbone": str(folder), "heads": heads}}}

    fine = head(hidden, "response@1")
    assert "reads 9 numbers" in refused(planned, settings(fine, head(9, "prompt@1")))
    assert "backbone has 2 layers" in refused(planned, settings(head(hidden, "prompt@7")))
    assert "pool their backbone" in refused(planned, settings(fine, head(hidden, "prompt@1", pooling="last")))
    assert "or features of a pair" in refused(planned, settings(fine, head(hidden, "conversation@1")))
    assert "x.h0" in planned(settings(fine)).models


def edited(file, **changes):
    described = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in (described | changes).items() if value is not None}))


def rewritten(file, keep):
    """The same safetensors file with only the tensors whose names are kept."""
    tensors = {name: tensor for name, tensor in load_file(file).items() if keep(name)}
    save_file(tensors, file, metadata={"format": "pt"})


def test_an_adapter_over_a_plain_language_model_is_served_by_its_own_head(planned, checkpoint, tmp_path):
    """What trainers leave behind: the base's configuration speaks of two labels, the adapter's head has one."""
    base = build_headless_causal(tmp_path / "base")
    edited(base / "config.json", id2label=None, label2id=None, num_labels=None)
    adapter = build_adapter(checkpoint("llama"), tmp_path / "adapter", seed=4)
    made = planned({"scorers": {"rm": scorer(base, adapter=str(adapter))}})
    assert list(made.models) == ["rm"]
    query = Query.of((5, 6, 7), adapter=made.engines[0].settings.adapters[0].name)
    (answer,) = compute(TorchEngine(made.engines[0].settings), [query]).answers
    assert answer.shape == (1,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"peft_type": "PREFIX_TUNING"}, "only LORA adapters"), ({"bias": "all"}, "changes the base model's biases")],
)
def test_adapters_that_would_change_more_than_they_say_are_refused(changes, words, planned, checkpoint, tmp_path):
    """Virtual tokens and biases are not what the engine computes, or what other scorers over the base expect."""
    adapter = build_adapter(checkpoint("llama"), tmp_path / "adapter")
    edited(adapter / "adapter_config.json", **changes)
    assert words in refused(planned, {"scorers": {"a": scorer(checkpoint("llama"), adapter=str(adapter))}})


def test_an_adapter_that_lacks_weights_is_refused(planned, checkpoint, tmp_path):
    """Nothing that was never trained makes a reward."""
    adapter = build_adapter(checkpoint("llama"), tmp_path / "adapter")
    rewritten(adapter / "adapter_model.safetensors", lambda name: ".layers.1." not in name)
    made = planned({"scorers": {"a": scorer(checkpoint("llama"), adapter=str(adapter))}})
    with pytest.raises(NotServable, match="the adapter's weights lack"):
        TorchEngine(made.engines[0].settings)


def test_a_backbone_that_lacks_weights_is_refused(planned, tmp_path):
    """A layer that the file does not hold would be random, and another one at every start."""
    folder = build_backbone(tmp_path / "backbone")
    rewritten(folder / "model.safetensors", lambda name: "layer.1." not in name)
    made = planned({"scorers": {"r": {"kind": "relevance", "backbone": str(folder), "placement": "inline"}}})
    with pytest.raises(NotServable, match="not a trained model: the checkpoint has no"):
        TorchEngine(made.engines[0].settings)


def test_weights_that_changed_since_the_start_are_not_loaded(planned, checkpoint, tmp_path):
    """A worker that restarts over other weights would answer under the old revision."""
    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))
    made = planned({"scorers": {"a": scorer(folder)}})
    shutil.copyfile(checkpoint("bert", seed=9) / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(NotServable, match="files have changed since the service started"):
        TorchEngine(made.engines[0].settings)


def test_a_broken_checkpoint_is_said_plainly(planned, checkpoint, tmp_path):
    """Cut weights and unknown architectures are errors of the configuration, not crashes."""
    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NotServable, match="model: "):
        TorchEngine(planned({"scorers": {"a": scorer(folder)}}).engines[0].settings)
    edited(folder / "config.json", model_type="no-such-model")
    with pytest.raises(NotServable, match="no-such-model"):
        TorchEngine(planned({"scorers": {"a": scorer(folder)}}).engines[0].settings)


def test_a_folder_without_a_tokenizer_is_refused(planned, checkpoint, tmp_path):
    """Before it is served, not at the first request."""
    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "no tokenizer here" in refused(planned, {"scorers": {"a": scorer(folder)}})


def test_an_adapter_that_does_not_fit_its_base_is_refused(planned, checkpoint, tmp_path):
    """As plainly as anything else that cannot be loaded."""
    adapter = build_adapter(checkpoint("llama"), tmp_path / "adapter")
    edited(adapter / "adapter_config.json", target_modules=["nowhere"])
    made = planned({"scorers": {"a": scorer(checkpoint("llama"), adapter=str(adapter))}})
    with pytest.raises(NotServable, match="No modules were targeted"):
        TorchEngine(made.engines[0].settings)


def test_engines_share_the_cores(planned, checkpoint):
    """Threads are divided over all workers, not given to each engine anew."""
    made = planned({"scorers": {name: scorer(checkpoint("bert", seed=seed)) for seed, name in enumerate("abc")}})
    cores = len(os.sched_getaffinity(0))
    assert [engine.settings.threads for engine in made.engines] == [max(1, cores // 3)] * 3


def test_every_vocabulary_file_is_part_of_the_tokenizers_identity(checkpoint, tmp_path):
    """Whatever it is called: another vocabulary is another tokenizer."""
    folder = Path(shutil.copytree(checkpoint("bert"), tmp_path / "model"))
    before = find_checkpoint(str(folder)).tokenizer_revision()
    (folder / "vocab.txt").write_text("[UNK]\nhello\n")
    assert find_checkpoint(str(folder)).tokenizer_revision() != before
