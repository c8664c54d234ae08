# The image of a worker that measures on the CPU. It contains no libraries of the control plane.
FROM python:3.13.1-slim-bookworm AS build
WORKDIR /src
COPY requirements/worker-cpu.txt .
RUN python -m venv /opt/fleetmark \
 && /opt/fleetmark/bin/pip install --no-cache-dir --no-deps --require-hashes -r worker-cpu.txt
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY orchestrator orchestrator
COPY worker worker
COPY cli cli
RUN /opt/fleetmark/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13.1-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/fleetmark --create-home fleetmark
COPY --from=build /opt/fleetmark /opt/fleetmark
ENV PATH=/opt/fleetmark/bin:$PATH PYTHONUNBUFFERED=1 \
    FLEETMARK_WORKER_STATE_DIR=/var/lib/fleetmark/state FLEETMARK_WORKER_CACHE_DIR=/var/lib/fleetmark/cache
USER 10001
WORKDIR /var/lib/fleetmark
VOLUME /var/lib/fleetmark
CMD ["python", "-P", "-m", "worker.cli", "start"]
