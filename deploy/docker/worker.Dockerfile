# The image of a worker that measures on the CPU. It contains no libraries of the control plane.
FROM python:3.13.1-slim-bookworm AS build
# The file of requirements to install: worker-cpu, or worker-cuda for an NVIDIA GPU.
ARG ROLE=worker-cpu
WORKDIR /src
COPY requirements/${ROLE}.txt requirements.txt
RUN python -m venv /opt/fleetmark \
 && /opt/fleetmark/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY orchestrator orchestrator
COPY worker worker
COPY cli cli
RUN /opt/fleetmark/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && echo worker.Dockerfile > /opt/fleetmark/.fleetmark-image

FROM python:3.13.1-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/fleetmark --create-home fleetmark
COPY --from=build /opt/fleetmark /opt/fleetmark
ENV PATH=/opt/fleetmark/bin:$PATH PYTHONUNBUFFERED=1 \
    FLEETMARK_WORKER_STATE_DIR=/var/lib/fleetmark/state FLEETMARK_WORKER_CACHE_DIR=/var/lib/fleetmark/cache
USER 10001
WORKDIR /var/lib/fleetmark
VOLUME /var/lib/fleetmark
CMD ["python", "-P", "-m", "worker.cli", "start"]
