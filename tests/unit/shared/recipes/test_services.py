"""Tests recipes for a service under load: the form of other frameworks, its translation, sweeps, and one clear error for each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidInput
from shared.kinds.load import LoadSpec
from shared.recipes import load_recipe, parse_recipe
from shared.recipes.cells import Cell, cells_of
from shared.recipes.forms import FORMS
from shared.recipes.remarks import remarks
from shared.services.registry import SERVICES
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


def test_a_vector_database_inserts_every_vector_before_it_is_asked() -> None:
    for kind, sizes in (("chroma", (10, 100)), ("qdrant", (40, 1_000))):
        phases = spec(f"service: {{type: {kind}, address: '127.0.0.1:7000'}}").phases
        assert [(phase.name, phase.count) for phase in phases] == [("insert", sizes[0]), ("query", sizes[1])]
        timed = spec(f"service: {{type: {kind}, address: '127.0.0.1:7000'}}\nload: {{duration_s: 3}}").phases
        assert [(phase.name, phase.count, phase.duration_s) for phase in timed] == [("insert", sizes[0], None), ("query", None, 3)]
    only = spec("service: {type: chroma}\nclient: {type: chroma, settings: {num_queries: 0, num_vectors: 250}}").phases
    assert [(phase.name, phase.count) for phase in only] == [("insert", 3)]
    check = spec("service: {type: chroma}\nclient: {type: chroma_healthcheck}").phases
    assert [(phase.name, phase.operations, phase.count) for phase in check] == [("heartbeat", {"heartbeat": 1.0}, 20)]


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
    found = cells("service: {type: redis, address: 'redis://lab/3'}")[0]
    assert found.target() == Existing(address="redis://lab/3")
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
        ("service: {type: redsi}", "service.type: line 1: this version does not know 'redsi': did you mean 'redis'? Known: redis, "),
        ("service: {type: chroma}\nclient: {settings: {num_vectors: 0}}", "client.settings.num_vectors: line 2: "),
        (
            "service: {type: chroma}\nclient: {settings: {num_vectors: 5, top_k: 6}}",
            "`top_k` is 6, and there are 5 vectors (`num_vectors`); ask for as many at most",
        ),
        ("service: {type: qdrant}\nsweep: {client.settings.num_points: [5, 50]}\nclient: {type: qdrant}", "`top_k` is 10, and there are 5"),
        ("service: {settings: {}}", "needs a `type` that this version can drive"),
        (
            "service: {type: redis}\nclient:\n  type: redis_stres",
            "client.type: line 3: this version does not know 'redis_stres': did you mean",
        ),
        ("service: {type: redis}\nclient: {type: postgres_stress}", "the client postgres is not for a service of the type redis"),
        ("service: {type: redis}\nconfiguration: {target: slurm}", "cannot start work on the target 'slurm'"),
        ("service: {type: redis}\nmonitoring: {enabled: true, mode: prometheus_grafana}", "this version starts no monitoring stack"),
        ("service: {type: http}", "say where it runs, with `address`"),
        ("service: {type: http, address: 'ftp://x'}", "begins with `http://` or `https://`"),
        ("service: {type: redis, address: 'redis://x:99999'}", "its port is a number from 1 to 65535"),
        ("service: {type: redis, address: 'redis://x/abc'}", "the number of a database, and this one is '/abc'; write it like"),
        ("service: {type: redis, address: 'x:6379/-1'}", "the number of a database, and this one is '/-1'"),
        ("service: {type: minio, address: 'http://x/bucket'}", "has no path, and this one has '/bucket'; write the bucket into"),
        ("service: {type: redis, address: 'redis://x', restarts: 2}", "`restarts` has no effect beside `address`"),
        ("service: {type: redis, image: a, launcher: process}", "`image` has no effect with `launcher: process`"),
        ("service: {type: redis, launcher: container}", "needs the `image`"),
        ("service: {type: redis, nodes: 2}", "service.nodes"),
        ("service: {type: redis, fresh: forever}", "service.fresh"),
        ("service: {type: redis}\nload: {pattern: closed, rate: 5}", "`rate` has no effect with `load.pattern: closed`"),
        ("service: {type: redis}\nload: {pattern: poisson}", "`load.pattern: poisson` needs a `rate`"),
        ("service: {type: redis}\nload: {pattern: trace}", "belong together"),
        (
            "service: {type: redis}\nload: {pattern: trace, trace_s: [0, -2]}",
            "`load.trace_s` has -2; each time is a number of seconds from 0",
        ),
        ("service: {type: redis, settings: {maxmemory: lots}}", "must be a number of bytes, or a number with its unit in lower case"),
        ("service: {type: minio}\nclient: {settings: {bucket: My_Bucket}}", "must be 3 to 63 lower-case letters, digits, dots and dashes"),
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


OF_A_CLUSTER = """
configuration: {target: "local"}
service:
  type: postgres
  name: orders-db
  partition: batch
  num_gpus: 0
  time_limit: 00:20:00
  account: a-123
  memory: 8G
  port: 5433
  environment: {POSTGRES_DB: orders}
  settings:
    tuning: {shared_buffers: 64MB, maintenance_work_mem: 32MB}
client:
  type: postgres_stress
  name: orders-clients
  partition: batch
  nodes: 1
  num_gpus: 0
  time_limit: 600
  settings: {num_inserts: 10, num_selects: 20}
benchmarks:
  num_clients: 2
  metrics: [insert_tps, query_latency, rows_in_total]
monitoring:
  enabled: false
  mode: prometheus_grafana
  prometheus: {partition: cpu, time_limit: "04:00:00", port: 9090, scrape_interval: 15s}
  grafana: {port: 3000, admin_password: not-kept}
  pushgateway: {enabled: true, port: 9091}
  dashboards: [database]
"""


def test_a_recipe_for_a_cluster_is_accepted_and_what_has_no_effect_is_named() -> None:
    recipe = load_recipe(OF_A_CLUSTER)
    found = cells(OF_A_CLUSTER)[0].spec()
    assert isinstance(found, LoadSpec)
    assert found.service.settings["port"] == 5433
    assert found.service.settings["db_name"] == "orders"
    assert found.service.settings["tuning"]["maintenance_work_mem"] == "32MB"
    said = remarks(recipe)
    assert said[0].startswith("`service.partition`, `service.account`, `service.time_limit`, `service.memory`, `client.partition`, ")
    assert (
        said[1]
        == "`benchmarks.metrics` names `rows_in_total`, which this version does not measure; every figure that it has is in the result"
    )
    assert said[2].startswith(
        "`monitoring.dashboards`, `monitoring.grafana`, `monitoring.prometheus`, `monitoring.pushgateway` have no effect"
    )
    assert len(said) == 3


def test_a_recipe_in_our_words_has_no_remarks_and_is_read_back_from_its_translation() -> None:
    assert remarks(load_recipe(OF_ANOTHER_FRAMEWORK)) == [
        "`service.partition`, `service.time_limit` have no effect: the work runs on a registered worker, and not as the job of a cluster"
    ]
    recipe = load_recipe(OF_A_CLUSTER)
    stored = recipe.model_dump(mode="json", exclude_unset=True)
    assert "not-kept" not in str(stored)
    assert parse_recipe(stored).model_dump(mode="json", exclude_unset=True) == stored
    assert remarks(load_recipe("service: {type: redis}")) == []


def test_the_usual_port_of_grpc_is_pointed_out() -> None:
    for address, service, said in (("a:6334", "qdrant", "the port for HTTP is usually 6333"), ("http://a:8001", "triton", "usually 8000")):
        (remark,) = remarks(load_recipe(f"service: {{type: {service}, address: '{address}'}}"))
        assert said in remark
    assert remarks(load_recipe("service: {type: qdrant, address: 'a:6333'}")) == []


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("service: {type: redis}\nclient: {settings: {num_requests: 9, duration_s: 5}}", "`client.settings.num_requests` has no effect"),
        ("service: {type: qdrant, address: a}\nload: {duration_s: 5}\nclient: {settings: {num_queries: 9}}", "num_queries` has no effect"),
        ("service: {type: postgres}\nclient: {settings: {num_inserts: 9, duration_s: 5}}", ""),  # it is the share of the inserts
        ("service: {type: redis}\nclient: {settings: {num_requests: 9}}", ""),
        ("service: {type: redis}\nclient: {settings: {duration_s: 9}}", ""),
    ],
)
def test_a_number_of_requests_beside_a_duration_is_pointed_out(recipe: str, said: str) -> None:
    found = remarks(load_recipe(recipe))
    assert len(found) == bool(said)
    assert said in "".join(found)


TRACE = "load: {pattern: trace, trace_s: [0, 1, 2.5, 2]"


@pytest.mark.parametrize(
    ("service", "more", "counts", "remark"),
    [
        ("type: redis", "}", [4], ""),
        ("type: postgres", "}", [4, 4], ""),
        ("type: chroma, address: 'http://a'", "}", [10, 4], ""),
        ("type: redis", ", count: 3}", [3], "`load.count: 3` leaves out the later ones of the 4 times"),
        ("type: redis", "}\nclient: {settings: {num_requests: 2}}", [2], "`client.settings.num_requests: 2` leaves out the later ones"),
        ("type: redis", "}\nclient: {settings: {num_requests: 9}}", [9], ""),
        (
            "type: redis",
            ", duration_s: 2}",
            [None],
            "`duration_s: 2` leaves out the 2 of the 4 times of `load.trace_s` that are not below it",
        ),
        ("type: redis", ", duration_s: 3}", [None], ""),
    ],
)
def test_all_of_a_trace_is_sent_unless_the_recipe_says_less(service: str, more: str, counts: list[int | None], remark: str) -> None:
    recipe = f"service: {{{service}}}\n{TRACE}{more}"
    spec = cells(recipe)[0].spec()
    assert isinstance(spec, LoadSpec)
    assert [phase.count for phase in spec.phases] == counts
    said = remarks(load_recipe(recipe))
    assert len(said) == bool(remark)
    assert remark in "".join(said)


@pytest.mark.parametrize(
    ("section", "word", "key"),
    [
        ("load", "target_qps", "rate"),
        ("load", "min_duration_ms", "duration_s"),
        ("client", "users", "concurrent_clients"),
        ("client", "request_count", "num_requests"),
        ("client", "output_tokens", "max_tokens"),
    ],
)
def test_a_word_of_another_tool_leads_to_the_key_that_means_the_same(section: str, word: str, key: str) -> None:
    """By its letters alone, `output_tokens` would lead to `input_tokens`, and `users` to `headers`."""
    written = f"load: {{{word}: 5}}" if section == "load" else f"client: {{type: vllm_stress, settings: {{{word}: 5}}}}"
    assert f"unknown key '{word}': did you mean '{key}'? Known: " in mistakes(f"service: {{type: vllm}}\n{written}")


def test_a_sweep_may_give_what_the_load_needs() -> None:
    swept = cells("service: {type: redis}\nload: {pattern: poisson}\nsweep: {load.rate: [100, 200]}")
    found = [cell.spec() for cell in swept]
    assert [(one.load.pattern, one.load.rate) for one in found if isinstance(one, LoadSpec)] == [("poisson", 100), ("poisson", 200)]
    said = mistakes("service: {type: redis}\nload: {pattern: poisson}\nsweep: {load.seed: [1, 2]}")
    assert "the recipe with load.seed=1 is not valid: `load.pattern: poisson` needs a `rate`" in said


def test_a_gpu_that_the_service_asks_for_must_be_in_the_device() -> None:
    assert load_recipe("service: {type: redis, num_gpus: 1}").requires.min_gpu_memory_mb == 1
    asked = load_recipe("service: {type: redis, num_gpus: 2}\nrequires: {min_gpu_memory_mb: 8000}")
    assert asked.requires.min_gpu_memory_mb == 8_000
    assert "that it has 2 of them is not checked" in remarks(asked)[0]
    assert load_recipe("service: {type: redis, num_gpus: 0}").requires.is_empty()
    elsewhere = load_recipe("service: {type: redis, address: 'redis://gpu-host', num_gpus: 1}")
    assert elsewhere.requires.is_empty()
    assert remarks(elsewhere) == ["`service.num_gpus` has no effect beside `address`, because that service runs already"]


@pytest.mark.parametrize(
    ("recipe", "path", "message"),
    [
        ("service:\n  type: redis\n  command: redis-server", "service.command", "line 3: a server is started as its `type` says"),
        ("service: {type: redis}\nclient:\n  command: curl x", "client.command", "line 3: the clients are those of this version"),
        ("service: {name: web, image: 'nginx:1', command: nginx}", "service", "line 1: needs a `type` that this version can drive"),
        ("service: {type: redis, environment: {REDIS_X: 1}}", "service.environment", "only those variables of a server's environment"),
        ("service: {type: postgres}\nclient: {settings: {query: SELECT 1}}", "client.settings.query", "no statement of the recipe"),
        ("service: {type: postgres, settings: {POSTGRES_PASSWORD: x}}", "service.settings.POSTGRES_PASSWORD", "asks for no password"),
        ("service: {type: http, address: 'http://x', port: 80}", "service.port", "no setting for a port"),
        ("service: {type: redis, port: 1, settings: {port: 2}}", "service.port", "no setting for a port"),
        ("service: {type: qdrant, address: 'http://x', protocol: grpc}", "service.protocol", "no gRPC is spoken"),
        ("service: {type: qdrant}\nclient: {settings: {prefer_grpc: true}}", "client.settings.prefer_grpc", "no gRPC is spoken"),
        ("service: {type: triton}\nclient: {settings: {protocol: grpc}}", "client.settings.protocol", "(usually 8000 of Triton"),
        ("service: {type: triton, address: 'grpc://x:8001'}", "service", "so give the address of its HTTP port"),
        ("service: {type: openai, address: a}\nclient: {settings: {tokenizer: b}}", "client.settings.tokenizer", "not by a tokenizer"),
        ("name: x\nservices:\n- {service_type: redis}", "services", "line 2: a recipe has one `service`"),
        ("name: x\nworkload: {pattern: closed-loop}", "workload", "line 2: `workload` belongs to the recipes of another framework"),
        ("client: {name: redis_benchmark, parameters: {clients: 5}}", "client", "line 1: `client` stands beside the `service`"),
    ],
)
def test_what_another_framework_has_and_this_one_does_not_is_refused_with_one_sentence(recipe: str, path: str, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        load_recipe(recipe)
    assert [field.path for field in raised.value.fields] == [path]
    assert message in raised.value.fields[0].message
    assert message in raised.value.detail


def test_a_trusted_tool_is_swept_beside_our_own_clients_and_stored_by_its_name() -> None:
    text = "service: {type: postgres}\nclient: {driver: native}\nsweep: {client.driver: [fleetmark, native]}"
    recipe = load_recipe(text)
    stored = recipe.model_dump(mode="json", exclude_unset=True)
    assert (stored["client"]["driver"], stored["sweep"]) == ("pgbench", {"client.driver": ["fleetmark", "pgbench"]})
    specs = [cell.spec() for cell in cells_of(recipe)]
    assert [one.client.driver for one in specs if isinstance(one, LoadSpec)] == ["fleetmark", "pgbench"]
    both = load_recipe("service: {type: redis}\nclient: {driver: memtier_benchmark, settings: {concurrent_clients: 4}}\nload: {rate: 40}")
    assert [one.client.driver for cell in cells_of(both) if isinstance(one := cell.spec(), LoadSpec)] == ["memtier_benchmark"]
    assert "write `type: postgres_stress` with `driver: pgbench`" in mistakes("service: {type: postgres}\nclient: {type: pgbench}")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("service: {type: postgres}\nclient: {driver: redis-benchmark}", "a service of the type postgres has: fleetmark, pgbench"),
        ("service: {type: http, address: 'http://x'}\nclient: {driver: native}", "a service of the type http has: fleetmark"),
        ("service: {type: redis}\nclient: {driver: native}", "redis-benchmark sends one operation over and over"),
        (
            "service: {type: redis}\nclient: {driver: native, settings: {operation_mix: get, key_distribution: zipf}}",
            "draws keys uniformly",
        ),
        ("service: {type: redis}\nclient: {driver: native, settings: {operation_mix: get, key_size_bytes: 16}}", "is at least 22"),
        (
            "service: {type: redis}\nclient: {driver: native, settings: {operation_mix: set, value_size_bytes: 100_000}}",
            "is at most 65536",
        ),
        *(
            (f"service: {{type: redis}}\nclient: {{driver: memtier_benchmark, settings: {settings}}}\nload: {load}", message)
            for settings, load, message in [
                ("{key_distribution: zipf}", "{}", "weighs keys by another formula"),
                ("{key_size_bytes: 22}", "{}", "is at least 23"),
                ("{value_size_bytes: 0}", "{}", "no empty values"),
                ("{}", "{duration_s: 1.5}", "takes whole seconds, and `duration_s` is 1.5"),
                ("{concurrent_clients: 4}", "{rate: 10}", "with 4 connections `rate` is a multiple of 4, and not 10"),
                ("{}", "{pattern: poisson, rate: 10}", "cannot follow `load.pattern: poisson`"),
            ]
        ),
        *(
            (f"service: {{type: vllm}}\nclient: {{driver: native, settings: {settings}}}\nload: {load}", message)
            for settings, load, message in [
                ("{stream: false}", "{}", "reads streams only"),
                ("{include_usage: false}", "{}", "always asks for the numbers of tokens"),
                ("{}", "{duration_s: 5}", "takes a number of requests and no time; write `load.count`"),
                ("{}", "{pattern: ramp, rate: 5, rate_from: 1, duration_s: 5}", "vllm-bench cannot follow `load.pattern: ramp`"),
            ]
        ),
        ("service: {type: postgres}\nclient: {driver: pgbench}\nload: {pattern: ramp, rate: 5}", "cannot follow `load.pattern: ramp`"),
        ("service: {type: postgres}\nclient: {driver: pgbench}\nload: {ramp_up_s: 1}", "pgbench has no ramp-up"),
        (
            "service: {type: redis}\nclient: {driver: native, settings: {operation_mix: get}}\n"
            "sweep: {client.settings.operation_mix: [get, 'get:set']}",
            "one operation over and over",
        ),
    ],
)
def test_what_a_tool_cannot_do_is_refused_before_anything_runs(recipe: str, message: str) -> None:
    assert message in mistakes(recipe)


def test_every_pattern_of_a_service_is_said_in_words() -> None:
    patterns = {
        constraint.pattern
        for kind in SERVICES.values()
        for settings in (kind.settings, kind.client)
        for field in settings.model_fields.values()
        for constraint in field.metadata
        if getattr(constraint, "pattern", None) is not None
    }
    assert patterns
    assert patterns <= FORMS.keys()


@pytest.mark.parametrize("written", ["[redis]", "{redis: 1}", "3"])
def test_a_type_of_service_that_is_no_text_is_refused_like_any_other_type(written: str) -> None:
    with pytest.raises(InvalidInput, match=r"service\.type: line 2: this version does not know"):
        load_recipe(f"name: x\nservice: {{type: {written}}}\n")
