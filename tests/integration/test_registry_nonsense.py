"""Tests that nonsense which one worker writes to Redis does not hide other workers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fastapi.responses import JSONResponse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.operations.context import Context
from shared.protocol import keys
from shared.workers import Registration

Register = Callable[..., str]
FIELDS = ("status", "incarnation", "last_seen", "registered_at", "held", "stage", "progress", "metrics", "beats", "quarantined_until")
NUMBERS = ("1e999", "-1e999", "NaN", "1" * 5_000, "1" * 400)
WORDS = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([text.encode() for number in NUMBERS for text in (number, f'[["job", {number}]]', f'{{"load": {number}}}')]),
    st.recursive(st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5)), st.lists, max_leaves=8).map(
        lambda value: json.dumps(value).encode()
    ),
    st.just(b"[" * 100_000),
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _others_are_seen(ctx: Context, steady: str) -> None:
    assert steady in {sight.known.id for sight in ctx.registry.sights()}
    assert steady in {worker.id for worker in ctx.registry.everyone()}
    found = ctx.registry.all()
    assert steady in {worker.id for worker in found}
    for worker in found:
        worker.known()
        JSONResponse([worker._asdict() | {"registration": worker.registration.model_dump(mode="json")}])


@FEW
@given(field=st.sampled_from(FIELDS), word=WORDS)
@example(field="held", word=b'[["job", 1e999]]')
@example(field="last_seen", word=b"1e999")
@example(field="metrics", word=b'{"load": "\\ud800"}')
@example(field="metrics", word=b'{"\\ud800": 1}')
def test_no_state_of_a_worker_hides_another(ctx: Context, register: Register, field: str, word: bytes) -> None:
    steady, odd = register("steady"), register("odd")
    ctx.registry.redis.hset(keys.worker(odd), field, word)
    _others_are_seen(ctx, steady)
    ctx.registry.redis.delete(keys.worker(odd))


@FEW
@given(word=WORDS)
def test_no_registration_hides_another(ctx: Context, register: Register, word: bytes) -> None:
    steady, odd = register("steady"), register("odd")
    ctx.registry.redis.hset(keys.WORKERS, odd, word)
    _others_are_seen(ctx, steady)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("place", ["hardware", "device_info"])
def test_no_number_that_a_device_says_of_itself_hides_another(ctx: Context, register: Register, place: str, number: str) -> None:
    steady, odd = register("steady"), register("odd")
    kept = Registration(device_name="odd", capabilities=["cpu.onnx"]).model_dump() | {place: {"memory_mb": "NUMBER"}}
    ctx.registry.redis.hset(keys.WORKERS, odd, json.dumps(kept).replace('"NUMBER"', number))
    _others_are_seen(ctx, steady)
