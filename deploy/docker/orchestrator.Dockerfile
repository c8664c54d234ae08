# The image of the control plane. The command chooses the part: API, consumer, watch, migrations or Flower.
FROM python:3.13.1-slim-bookworm AS build
# The file of requirements to install: orchestrator, or demo for an image that can also run `fleetmark up`.
ARG ROLE=orchestrator
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
 && echo orchestrator.Dockerfile > /opt/fleetmark/.fleetmark-image

FROM python:3.13.1-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/fleetmark --create-home fleetmark
COPY --from=build /opt/fleetmark /opt/fleetmark
ENV PATH=/opt/fleetmark/bin:$PATH PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
USER 10001
WORKDIR /var/lib/fleetmark
VOLUME /var/lib/fleetmark
EXPOSE 5000
CMD ["python", "-P", "-m", "orchestrator.cli", "serve"]
