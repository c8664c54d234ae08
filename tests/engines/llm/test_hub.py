"""Tests the double of the hub with the hub's own library, and measures a snapshot of it with a real worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from shared.content import Content, content_hash
from shared.inputs import ModelRef
from shared.kinds.generation import GenerationSpec, PromptsSection
from shared.kinds.inference import MODEL
from shared.protocol.messages import Assignment
from shared.repetition import Warmup
from shared.snapshots import CONFIG, parts_of
from shared.workloads import Workload
from tests.hub_server import HubServer, hub_server
from tests.integration.worker_process import CAMPAIGN, fleet_at

REPO = "org/tiny-llama"


@pytest.fixture
def hub(tiny: Path) -> Iterator[HubServer]:
    with hub_server() as running:
        running.repository(REPO, {path.name: path.read_bytes() for path in tiny.iterdir() if path.is_file()})
        yield running


def test_the_hubs_own_library_downloads_the_same_files_from_the_double(hub: HubServer, tiny: Path, tmp_path: Path) -> None:
    folder = huggingface_hub.snapshot_download(REPO, endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == {path.name: path.read_bytes() for path in tiny.iterdir()}
    info = huggingface_hub.HfApi(endpoint=hub.url, token=False).model_info(REPO, files_metadata=True)
    weights = next(one for one in info.siblings or [] if one.rfilename == "model.safetensors")
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()


def test_the_hubs_own_library_reads_the_refusals_of_the_double(hub: HubServer, tmp_path: Path) -> None:
    def get(name: str, revision: str = "main") -> None:
        huggingface_hub.hf_hub_download(name, CONFIG, revision=revision, endpoint=hub.url, cache_dir=tmp_path, token=False)

    with pytest.raises(RevisionNotFoundError):
        get(REPO, "v9")
    with pytest.raises(RepositoryNotFoundError):
        get("org/absent")
    hub.repositories[REPO].gated = True
    with pytest.raises(GatedRepoError):
        get(REPO)


def test_a_worker_measures_a_snapshot_of_its_hub(redis_url: str, tmp_path: Path, hub: HubServer, tiny: Path) -> None:
    hub.repositories[REPO].gated = True
    hub.tokens = {"hf_secret": {REPO}}
    workload = Workload(
        spec=GenerationSpec(prompts=PromptsSection(input_tokens=4, output_tokens=3, requests=1)),
        inputs={MODEL: ModelRef(source=f"hf://{REPO}", name="tiny-llama")},
        target=None,
        repeats=1,
        warmup=Warmup(),
        stop=None,
        timeout_s=120.0,
    )
    with fleet_at(redis_url, tmp_path) as fleet:
        worker = fleet.start(HF_ENDPOINT=hub.url, HF_TOKEN="hf_secret", FLEETMARK_WORKER_ALLOW_PRIVATE_URLS="true")
        worker_id = fleet.registered(worker)
        said = json.loads(str(fleet.redis.hget("fleetmark:workers", worker_id)))["hardware"]["work"]["cpu.torch"]
        assert said["generation"].keys() >= {"transformers", "torch"}
        job = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="cpu.torch", workload=workload)
        fleet.send(job, queue=f"worker.{worker_id}")
        result = fleet.report("result", job.job_id)
        assert (result.status, result.error) == ("complete", "")
        assert result.runtime["origin"] == {MODEL: f"hf://{REPO}@{hub.repositories[REPO].names['main']}"}
        assert "hf_secret" not in worker.log() + result.model_dump_json()

        def of(name: str) -> Content:
            data = (tiny / name).read_bytes()
            return Content(hashlib.sha256(data).hexdigest(), len(data))

        parts = parts_of((path.name for path in tiny.iterdir() if path.name != CONFIG), "tiny")
        assert result.model_sha256 == content_hash(of(CONFIG), {name: of(name) for name in parts})
