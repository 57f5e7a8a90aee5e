# Both commands in a container, as a user without rights (docs/container.md):
#   docker build --tag flmm .
#   docker run --name flmm flmm                                                    make reproduce
#   docker run --rm --publish 127.0.0.1:7860:7860 flmm flmm app --host 0.0.0.0     the web demo
# BASE: any Debian or Ubuntu image whose python3 is 3.11 or newer. torch's wheels bring CUDA's libraries along, so this
# one serves both CPUs and, with `docker run --gpus all`, GPUs.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    DVC_NO_ANALYTICS=true

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git make \
    && { command -v python3 || apt-get install --yes --no-install-recommends python3 python3-venv; } \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --shell /bin/bash --uid 10001 flmm \
    && install --directory --owner=flmm --group=flmm /home/flmm/project

USER 10001
WORKDIR /home/flmm/project
ENV PATH=/home/flmm/project/.venv/bin:$PATH

# The environment is a layer of its own: it stays when only code has changed.
COPY --chown=10001:10001 requirements.lock requirements-demo.lock ./
RUN python3 -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements-demo.lock

COPY --chown=10001:10001 . .
# The stamps tell the Makefile that all of it is installed.
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -e . \
    && touch .venv/.installed .venv/.demo

EXPOSE 7860
CMD ["make", "reproduce"]
