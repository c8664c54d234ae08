"""Flower on Fleetmark's broker, with Fleetmark's Celery settings: so it knows the queues' priority lists, and JSON alone."""

from __future__ import annotations

from shared.celery_app import make_celery_app


def run_flower(redis_url: str, bind: str, port: int) -> None:
    """Run Flower in this process until it is stopped; it handles SIGINT and SIGTERM itself."""
    make_celery_app(redis_url).start(["flower", f"--address={bind}", f"--port={port}"])
