"""Tests which workers can run which work, and what is said of those that cannot."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.compatibility import KnownWorker, compatibility, usable_capability
from orchestrator.domain.placement import Fleet, Place, places_for
from orchestrator.domain.work_needs import WorkNeeds
from shared.adverts import advert_of, model_key
from shared.recipes import Requirements

ANY = Requirements()
TORCH = ("cpu.torch",)
LLM = WorkNeeds(kind="generation")
POSTGRES = WorkNeeds(service="postgres", launcher="process")
OLD = KnownWorker("worker-old", "old", ("cpu.torch", "service.postgres"))
BARE = KnownWorker(
    "worker-bare", "bare", ("cpu.torch", "service.postgres"), advert=advert_of({"work": {"cpu.torch": {"inference": {}}}, "services": {}})
)
ABLE = KnownWorker(
    "worker-able",
    "able",
    ("cpu.torch", "service.postgres"),
    memory_mb=8_000,
    advert=advert_of(
        {
            "work": {"cpu.torch": {"inference": {}, "generation": {"transformers": "5.24.0"}}},
            "services": {"postgres": "PostgreSQL 16.14"},
            "containers": "",
        }
    ),
)


def gpu(compute: str, *precisions: str, memory_mb: int = 80_000) -> KnownWorker:
    device = {"name": "A GPU", "memory_mb": memory_mb, "compute_capability": compute, "precisions": list(precisions)}
    advert = advert_of({"gpu_devices": [device], "work": {"gpu.cuda.torch": {"generation": {}}}})
    return KnownWorker("worker-gpu", "gpu", ("gpu.cuda.torch",), memory_mb=16_000, gpu_memory_mb=memory_mb, advert=advert)


def test_a_language_model_goes_to_a_worker_with_its_library_and_not_to_one_without() -> None:
    places, reason = places_for("cpu.torch", None, ANY, Fleet([BARE, ABLE]), needs=LLM)
    assert (places, reason) == ([Place("worker.worker-able", "cpu.torch")], "")


def test_a_language_model_waits_for_its_library() -> None:
    places, reason = places_for("cpu.torch", None, ANY, Fleet([BARE]), needs=LLM)
    assert (places, reason) == ([], "waiting for a worker with cpu.torch and transformers")
    _, reason = places_for("cpu.torch", "bare", ANY, Fleet([BARE]), needs=LLM)
    assert reason == "waiting for a worker with cpu.torch and transformers on bare"


def test_an_old_worker_that_does_not_say_what_it_has_gets_the_work_as_before() -> None:
    assert places_for("cpu.torch", None, ANY, Fleet([OLD]), needs=LLM)[0] == [Place("worker.worker-old", "cpu.torch")]
    assert places_for("service.postgres", None, ANY, Fleet([OLD]), needs=POSTGRES)[0] == [Place("worker.worker-old", "service.postgres")]
    found = compatibility(OLD, TORCH, None, ANY, LLM)
    assert found.can_run
    assert found.warnings == ("it does not say whether it has transformers: its version is an earlier one",)


def test_a_service_is_started_by_a_worker_that_has_its_server() -> None:
    places, _ = places_for("service.postgres", None, ANY, Fleet([BARE, ABLE]), needs=POSTGRES)
    assert places == [Place("worker.worker-able", "service.postgres")]
    _, reason = places_for("service.postgres", None, ANY, Fleet([BARE]), needs=POSTGRES)
    assert reason == "waiting for a worker with service.postgres and a server of postgres"
    container = WorkNeeds(service="postgres", launcher="container")
    assert compatibility(ABLE, ("service.postgres",), None, ANY, container).missing_requirements == (
        "a program for containers, to start postgres",
    )
    assert compatibility(ABLE, ("service.postgres",), None, ANY, POSTGRES).supported_features == ("starts PostgreSQL 16.14",)


def test_a_model_that_does_not_fit_into_the_memory_is_refused_and_a_tight_one_is_doubtful() -> None:
    large, tight = (LLM.model_copy(update={"memory_mb": size}) for size in (8_001.0, 7_500.0))
    assert compatibility(ABLE, TORCH, None, ANY, large).missing_requirements == ("8001 MB of memory for the model: it has 8000 MB",)
    assert "leaves little" in compatibility(ABLE, TORCH, None, ANY, tight).warnings[0]
    assert usable_capability(replace(ABLE, memory_mb=0), TORCH, None, ANY, large) == "cpu.torch", "its memory is not known"


def test_a_model_on_a_gpu_is_compared_with_the_memory_of_the_gpu() -> None:
    needs = LLM.model_copy(update={"memory_mb": 20_000.0})
    assert compatibility(gpu("9.0", "BF16", "FP8"), ("gpu.cuda.torch",), None, ANY, needs).can_run
    small = compatibility(gpu("9.0", "BF16", memory_mb=10_000), ("gpu.cuda.torch",), None, ANY, needs)
    assert small.missing_requirements == ("20000 MB of GPU memory for the model: it has 10000 MB",)


def test_a_model_over_several_gpus_needs_that_many_and_its_share_of_each() -> None:
    needs = LLM.model_copy(update={"memory_mb": 20_000.0, "gpus": 2})
    one = compatibility(gpu("9.0", "BF16", memory_mb=10_000), ("gpu.cuda.torch",), None, ANY, needs)
    assert one.missing_requirements == ("20000 MB of memory of each GPU for the model: it has 10000 MB", "2 GPUs: it has 1")
    _, reason = places_for("gpu.cuda.torch", None, ANY, Fleet([gpu("9.0")]), needs=needs)
    assert reason == "waiting for a worker with gpu.cuda.torch, transformers, 20000 MB for the model and 2 GPUs"


def test_weights_of_8_bits_need_a_gpu_that_computes_in_them() -> None:
    needs = LLM.model_copy(update={"dtype": "float8"})
    old = compatibility(gpu("8.0", "BF16", "FP16"), ("gpu.cuda.torch",), None, ANY, needs)
    assert old.missing_requirements == ("a GPU that computes in FP8: A GPU (8.0) cannot",)
    assert compatibility(gpu("9.0", "BF16", "FP8"), ("gpu.cuda.torch",), None, ANY, needs).can_run


def test_bfloat16_on_a_gpu_without_it_is_slow_and_still_possible() -> None:
    found = compatibility(gpu("7.5", "FP16"), ("gpu.cuda.torch",), None, ANY, LLM.model_copy(update={"dtype": "bfloat16"}))
    assert found.can_run
    assert any("no matrix units for BF16" in warning for warning in found.warnings)


def test_everything_that_is_missing_is_listed() -> None:
    asked = Requirements(min_memory_mb=64_000, labels={"site": "lab"})
    found = compatibility(BARE, TORCH, None, asked, LLM)
    assert found.missing_requirements == ("64000 MB of memory: it has 0 MB", "the label site=lab", "transformers")
    assert compatibility(BARE, ("cpu.onnx",), None, ANY).missing_requirements == ("the capability cpu.onnx",)


def test_of_two_workers_with_equal_work_the_one_with_the_model_in_its_cache_comes_first() -> None:
    needs = LLM.model_copy(update={"model": "hf://org/name"})
    first, second = replace(ABLE, id="worker-a"), replace(ABLE, id="worker-b", models=frozenset({model_key("hf://org/name")}))
    places, _ = places_for("cpu.torch", None, ANY, Fleet([first, second]), needs=needs)
    assert [place.queue for place in places] == ["worker.worker-b", "worker.worker-a"]
    assert "the model is in its cache" in compatibility(second, TORCH, None, ANY, needs).supported_features


def test_an_advert_that_holds_nonsense_says_nothing() -> None:
    nonsense = advert_of({"work": [1], "services": "redis", "containers": 7, "gpu_devices": {"a": 1}, "frameworks": 3})
    assert nonsense == advert_of({})
    half = advert_of({"work": {"cpu.torch": 7, "cpu.onnx": {"inference": 3}}, "gpu_devices": [None, {"name": "x", "memory_mb": "much"}]})
    assert half.does("cpu.torch", "generation") is None
    assert half.does("cpu.onnx", "inference")
    assert half.gpus[0].memory_mb == 0
