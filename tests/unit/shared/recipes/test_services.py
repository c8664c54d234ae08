"""Tests recipes for a service under load: the form of other frameworks, its translation, sweeps, and one clear error for each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidInput
from shared.kinds.load import LoadSpec
from shared.recipes import load_recipe
from shared.recipes.cells import Cell, cells_of
from shared.targets import Existing, Launched

OF_ANOTHER_FRAMEWORK = """
configuration: {target: local}
service:
  type: redis
  partition: cpu
  time_limit: "01:00:00"
  settings: {port: 6379, maxmemory: 4gb}
client:
  type: redis_stress
  settings: {num_requests: 500, concurrent_requests: 4}
benchmarks: {num_clients: 4, client_delay: 5, metrics: [latency], repeats: 2}
load: {pattern: closed}
sweep: {client.settings.concurrent_requests: [1, 2, 4]}
slo: {p99_latency_ms: 10, max_error_rate: 0.01}
monitoring: {enabled: false, mode: local}
"""


def cells(text: str) -> list[Cell]:
    return list(cells_of(load_recipe(text)))


def spec(text: str) -> LoadSpec:
    found = cells(text)[0].spec()
    assert isinstance(found, LoadSpec)
    return found


def mistakes(text: str) -> str:
    with pytest.raises(InvalidInput) as raised:
        cells(text)
    return raised.value.detail + " " + " ".join(f"{field.path}: {field.message}" for field in raised.value.fields)


def test_a_type_alone_is_a_recipe_with_the_defaults_of_the_contract() -> None:
    recipe = load_recipe("service: {type: redis}")
    assert (recipe.kind, recipe.on, recipe.repeats) == ("load", ("service.redis",), 3)
    found = spec("service: {type: redis}")
    assert [phase.model_dump() for phase in found.phases] == [
        {"name": "mixed", "operations": {"get": 50.0, "set": 50.0}, "count": 10_000, "duration_s": None}
    ]
    assert (found.client.settings["key_size_bytes"], found.client.settings["value_size_bytes"]) == (32, 256)
    assert (found.concurrent_clients, found.num_clients, found.warmup_delay_s, found.load.pattern) == (1, 1, 5.0, "closed")
    target = cells("service: {type: redis}")[0].target()
    assert target == Launched(service="redis")


def test_a_postgres_inserts_before_it_reads() -> None:
    phases = spec("service: {type: postgres}").phases
    assert [(phase.name, phase.count) for phase in phases] == [("insert", 10_000), ("select", 5_000)]
    timed = spec("service: {type: postgres}\nload: {duration_s: 30}").phases
    assert [(phase.name, phase.count, phase.duration_s) for phase in timed] == [("insert", None, 20.0), ("select", None, 10.0)]


def test_an_s3_server_alone_is_a_recipe_with_the_defaults_of_the_contract() -> None:
    found = spec("service: {type: minio}")
    assert load_recipe("service: {type: minio}").on == ("service.minio",)
    assert [phase.model_dump() for phase in found.phases] == [
        {"name": "mixed", "operations": {"put": 50.0, "get": 50.0}, "count": 100, "duration_s": None}
    ]
    assert (found.warmup_delay_s, found.client.settings["object_size_bytes"]) == (10.0, 2**20)
    assert (found.service.settings["program"], found.service.settings["root_user"]) == ("minio", "minioadmin")
    other = spec(
        "service: {type: minio, address: s3.lab.example}\nclient: {type: minio_client, settings: {num_requests: 7, use_https: true}}"
    )
    assert other.phases[0].count == 7
    wrong = mistakes("service: {type: minio}\nclient: {type: minio, settings: {operation_mix: 'put:list', bucket: Mine}}")
    assert "the operations of this service are put and get" in wrong
    assert "client.settings.bucket" in wrong


def test_a_recipe_of_another_framework_runs_as_it_is_and_is_stored_in_our_words() -> None:
    recipe = load_recipe(OF_ANOTHER_FRAMEWORK)
    stored = recipe.model_dump(mode="json", exclude_unset=True)
    assert stored["client"] == {"type": "redis", "settings": {"num_requests": 500, "concurrent_clients": 4}}
    assert stored["sweep"] == {"client.settings.concurrent_clients": [1, 2, 4]}
    assert (stored["repeats"], stored["benchmarks"]) == (2, {"num_clients": 4, "client_delay": 5.0, "metrics": ["latency"]})
    found = [cell.spec() for cell in cells_of(recipe)]
    assert [one.concurrent_clients for one in found if isinstance(one, LoadSpec)] == [1, 2, 4]
    assert isinstance(found[0], LoadSpec)
    assert (found[0].num_clients, found[0].client_delay_s) == (4, 5.0)
    assert found[0].service.settings["maxmemory"] == "4gb"
    assert found[0].slo is not None
    assert found[0].slo.p99_latency_ms == 10


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("redis_smoke", {"num_requests": 100, "num_keys": 100}),
        ("redis_stress", {"num_requests": 10_000}),
        ("redis_benchmark", {"num_requests": 10_000}),
    ],
)
def test_each_name_of_a_client_has_a_meaning(client: str, expected: dict[str, Any]) -> None:
    found = spec(f"service: {{type: redis}}\nclient: {{type: {client}}}")
    assert found.client.type == "redis"
    assert expected.items() <= found.client.settings.items()
    assert spec("service: {type: postgres}\nclient: {type: postgres_smoke}").phases[0].count == 100


def test_what_a_recipe_states_wins_over_what_the_name_of_a_client_stands_for() -> None:
    assert spec("service: {type: redis}\nclient: {type: redis_smoke, settings: {num_requests: 7}}").phases[0].count == 7


def test_settings_of_the_service_can_be_swept() -> None:
    found = cells("service: {type: postgres}\nsweep: {service.settings.tuning.shared_buffers: [64MB, 1GB]}")
    assert [cell.spec().service.settings["tuning"]["shared_buffers"] for cell in found] == ["64MB", "1GB"]  # type: ignore[attr-defined]


def test_a_service_that_runs_already_is_named_by_its_address() -> None:
    found = cells("service: {type: redis, address: '127.0.0.1:6379'}")[0]
    assert found.target() == Existing(address="redis://127.0.0.1:6379")
    assert found.spec().warmup_delay_s == 0  # type: ignore[attr-defined]  # it is warm


def test_an_image_means_a_container() -> None:
    target = cells("service: {type: redis, image: 'redis:8', fresh: repeat, restarts: 0}")[0].target()
    assert target == Launched(service="redis", launcher="container", settings={"image": "redis:8"}, fresh="repeat", restarts=0)


def test_a_rate_without_a_pattern_is_constant() -> None:
    load = spec("service: {type: redis}\nload: {rate: 100, duration_s: 3}").load
    assert (load.pattern, load.rate) == ("constant", 100)
    assert spec("service: {type: redis}\nclient: {settings: {rate: 50, seed: 9}}").load.seed == 9


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "service:\n  type: redis\n  settings:\n    maxmemry: 1gb",
            "service.settings.maxmemry: line 4: unknown key 'maxmemry': did you mean",
        ),
        (
            "service: {type: postgres}\nclient:\n  settings:\n    num_insert: 3",
            "client.settings.num_insert: line 4: unknown key 'num_insert': did you mean 'num_inserts'",
        ),
        (
            "service: {type: redis}\nload: {durations_s: 3}",
            "line 2: unknown key 'durations_s': did you mean 'duration_s'",
        ),
        ("service: {type: mongodb}", "needs a `type` that this version can drive; it can drive: redis, postgres, http"),
        ("service: {settings: {}}", "needs a `type` that this version can drive"),
        ("service: {type: redis}\nclient: {type: chroma_stress}", "needs a `type` that this version knows"),
        ("service: {type: redis}\nclient: {type: postgres_stress}", "the client postgres is not for a service of the type redis"),
        ("service: {type: redis}\nconfiguration: {target: slurm}", "cannot start work on the target 'slurm'"),
        ("service: {type: redis}\nmonitoring: {enabled: true}", "this version starts no monitoring stack"),
        ("service: {type: http}", "say where it runs, with `address`"),
        ("service: {type: http, address: 'ftp://x'}", "begins with `http://` or `https://`"),
        ("service: {type: redis, address: 'redis://x:99999'}", "its port is a number from 1 to 65535"),
        ("service: {type: redis, address: 'redis://x', restarts: 2}", "`restarts` has no effect beside `address`"),
        ("service: {type: redis, image: a, launcher: process}", "`image` has no effect with `launcher: process`"),
        ("service: {type: redis, launcher: container}", "needs the `image`"),
        ("service: {type: redis, nodes: 2}", "service.nodes"),
        ("service: {type: redis, fresh: campaign}", "service.fresh"),
        ("service: {type: redis}\nload: {pattern: closed, rate: 5}", "`rate` has no effect with `load.pattern: closed`"),
        ("service: {type: redis}\nload: {pattern: poisson}", "`load.pattern: poisson` needs a `rate`"),
        ("service: {type: redis}\nload: {pattern: trace}", "belong together"),
        ("service: {type: redis}\nload: {count: 5, duration_s: 5}", "leave one of them out"),
        ("service: {type: redis}\nload: {rate: 5}\nclient: {settings: {rate: 6}}", "`load.rate` and `client.settings.rate` differ"),
        ("service: {type: redis}\nclient: {settings: {num_requests: 0}}", "greater than or equal to 1, not 0"),
        ("service: {type: postgres}\nclient: {settings: {num_inserts: 0, num_selects: 0}}", "nothing would be measured"),
        ("service: {type: redis}\nclient: {settings: {operation_mix: 'get:put=1:1'}}", "the operations of this service are get and set"),
        ("service: {type: redis}\nclient: {settings: {operation_mix: 'get:set=0:0'}}", "needs one share"),
        ("service: {type: redis}\nclient: {settings: {num_requests: 9_000_000}}\nrepeats: 2", "are more than 10000000"),
        ("service: {type: redis}\ninferences: 5", "`inferences` cannot stand beside `service`"),
        ("service: {type: redis}\nmodel: a", "has only one of"),
        ("service: {type: redis}\non: [cpu.onnx]", "cpu.onnx is for the kind of work 'inference'"),
        ("service: {type: redis}\nsweep: {client.settings.concurrent_clients: [1, 1]}", "the same value is listed twice"),
        (
            "service: {type: redis}\nsweep: {service.type: [redis, postgres]}\nclient: {type: redis}",
            "is not for a service of the type postgres",
        ),
        ("service: {type: redis}\nsweep: {client.settings.concurent: [1, 2]}", "concurent"),
    ],
)
def test_a_mistake_gets_one_clear_error(recipe: str, message: str) -> None:
    assert message in mistakes(recipe)
