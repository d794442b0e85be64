"""A real GRPO run of TRL, rewarded by the running service through the shipped adapter."""

from statistics import fmean

import pytest
import torch

from easy_rewards import build_easy_reward_model, build_policy, wanted_ids
from guerdon_client import Client, trl
from running import serving

STEPS = 30
QUESTIONS = ["Say something.", "How are you?", "What is the weather like?", "Tell me a story."]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The service, with a reward model that is easily pleased, and an ensemble of it and itself."""
    scorer = {
        "kind": "reward_model",
        "model": str(build_easy_reward_model(tmp_path_factory.mktemp("easy"))),
        "threads": 1,
    }
    config = {
        "scorers": {"easy": scorer, "again": scorer},
        "ensembles": {"default": {"members": ["easy", "again"], "calibration": "none"}},
    }
    with serving(config, tmp_path_factory.mktemp("trl")) as running:
        yield running


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return build_policy(tmp_path_factory.mktemp("policy"), seed=1)


def test_the_objective_is_what_it_is_said_to_be(service):
    """The more of the wanted tokens, the higher the reward."""
    with Client(service.url) as client:
        none, some, all_of_it = client.score("Say something.", ["dog jumps", "the dog", "the the the"], model="easy")
    assert none < some < all_of_it


@pytest.fixture
def one_thread():
    """Tiny matrices are the faster for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# What the trainer and its libraries warn of is not about us.
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "conversational"])
def test_a_policy_learns_what_the_service_rewards(service, policy, conversational, tmp_path):
    """Over thirty steps the mean reward rises several times further than chance moved it in the first five."""
    logged = trained(service, policy, conversational, tmp_path)
    means = [entry["rewards/easy/mean"] for entry in logged]
    assert len(means) == STEPS
    first, last = means[:5], means[-5:]
    assert fmean(last) - fmean(first) > max(0.2, 5 * (max(first) - min(first)))
    assert [entry["easy/std"] for entry in logged] == [0.0] * STEPS
    assert [entry["easy/again"] for entry in logged] == pytest.approx(means, abs=1e-5)


def trained(service, policy, conversational, folder):
    """What the trainer logs of each step."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    prompts = [[{"role": "user", "content": q}] for q in QUESTIONS] if conversational else QUESTIONS
    settings = GRPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, seed=3, max_steps=STEPS, learning_rate=0.02,
        lr_scheduler_type="constant", per_device_train_batch_size=32, num_generations=8, max_completion_length=16,
        gradient_checkpointing=False, beta=0.0, logging_steps=1, report_to="none", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    before = service.metric("guerdon_requests_total", endpoint="/v1/score")
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        processing_class=AutoTokenizer.from_pretrained(policy),
        reward_funcs=trl.reward_func(service.url, name="easy"),
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts] * 8),
    )
    trainer.train()
    assert service.metric("guerdon_requests_total", endpoint="/v1/score") - before >= STEPS
    return [entry for entry in trainer.state.log_history if "rewards/easy/mean" in entry]


def test_the_wish_is_neither_common_nor_rare(policy):
    """A random policy pleases now and then, so that there is something to learn from."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(policy)
    assert 0.05 < len(wanted_ids(tokenizer)) / len(tokenizer) < 0.4
