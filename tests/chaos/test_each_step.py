"""Tests `kill -9` at each step of a job's way, one step after the other.

Whichever process dies, the job ends once, with its files, and nothing is left over. The last test checks that the audit would notice every
fault.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import cast

import httpx
import psycopg
import pytest

from orchestrator.domain.lifecycle import WORKERS_LOST_LIMIT
from shared.ids import job_id
from shared.protocol import keys
from shared.protocol.letters import DeadLetter
from tests.chaos.audit import audit, processes_left, read_books
from tests.chaos.client import LARGE, Client, recipe
from tests.chaos.system import MARK, Part, System, eventually, system_in

pytestmark = pytest.mark.timeout(600)

DYING = "tests.chaos.dying"
MEASURING = ("before", "worker.activity:Activity.stage", "measuring")
Step = tuple[str, str, str]
_keys = itertools.count(1)

# Each entry is the side, the place, and a text that the call must contain. `{job}` stands for the id of the job.
WORKER: tuple[Step, ...] = (
    ("before", "worker.tasks:JobTask.__call__", "{job}'"),  # the message is taken
    ("after", "worker.agent.broker:Broker.claim", "{job}'"),
    ("after", "worker.agent.outbox:Outbox.tell", "{job}'"),  # the start is reported
    MEASURING,
    ("before", "worker.spool:write_durably", ".json"),  # the samples are in the spool, but their message is not
    ("after", "worker.spool:Spool.write", "{job}'"),
    ("after", "worker.agent.uploads:Uploads.send", "{job}'"),
    ("after", "worker.agent.outbox:Outbox.deliver", "{job}'"),  # the result is sent but not acknowledged
    ("after", "kombu.transport.redis:QoS.ack", ""),
    ("before", "worker.spool:Spool.answered", "{job}'"),
    ("after", "worker.spool:Spool.answered", "{job}'"),  # the answer is still in Redis
)
# The same for the second of three jobs whose repeats take turns.
BLOCK: tuple[Step, ...] = (
    ("before", "worker.agent.broker:Broker.claim", "{job}'"),  # the first job is claimed, the others are not
    ("after", "worker.agent.outbox:Outbox.tell", "{job}'"),  # two starts are reported
    ("before", "worker.activity:Activity.stage", "load 1 of 1 is next"),  # one job is measured, except for its last process
    ("before", "worker.spool:Spool.write", "{job}'"),  # all jobs are measured, and some results are in the spool
    ("after", "worker.agent.outbox:Outbox.deliver", "{job}'"),
)
CONSUMER: tuple[Step, ...] = (
    ("before", "orchestrator.consumer.loop:record", "status='complete'"),  # the batch is taken
    ("before", "orchestrator.operations.kept_files:keep_artifacts", ""),  # the transaction is committed, but there are no files yet
    ("after", "orchestrator.operations.kept_files:keep_artifacts", ""),
    ("after", "orchestrator.registry.marks:Marks.tombstone", "{job}'"),  # everything is done except for the answer
    ("after", "orchestrator.consumer.loop:record", "'recorded'"),  # the answer is sent, but the batch is still in its list
    ("before", "orchestrator.operations.finish:write_campaign", ""),
    ("after", "orchestrator.operations.finish:write_campaign", ""),  # the files are written, but this is not recorded
)
API: tuple[Step, ...] = (
    ("before", "orchestrator.operations.submit:insert_copies", ""),  # this is within the transaction
    ("before", "orchestrator.dispatch.celery_queue:CeleryQueue.publish", "-job-1"),  # the change is committed but not sent
    ("after", "orchestrator.dispatch.celery_queue:CeleryQueue.publish", "-job-1"),  # the message is sent but not answered
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    # A killed part must be back before it counts as silent, on a busy machine too, because three silences end a job. The timeout is not
    # longer, because a watch that begins to lead waits for the same time before it declares any worker faulty.
    with system_in(tmp_path_factory.mktemp("steps"), HEARTBEAT_TIMEOUT_S="10") as made:
        made.start("api", "consumer", "watch")
        yield made


@pytest.fixture
def client(system: System) -> Client:
    for name in ("api", "consumer", "watch", "worker-1"):
        part = system.parts[name]
        if part.launcher:  # a failed test has left it behind, and the process would die during this test
            part.kill()
        if not part.alive:
            part.start()
    eventually(system.healthy, "a worker has registered")
    made = Client(system)
    eventually(lambda: made.get("/api/campaigns", status="running").get("campaigns") == [], "whatever an earlier test began has ended")
    return made


def submit(system: System, client: Client, *inferences: int) -> str:
    return client.submit(recipe(system.folder, list(inferences)), key=f"step-{next(_keys)}")


def dies(part: Part, step: Step) -> None:
    side, place, _ = step
    assert part.died() == -signal.SIGKILL, part.log.read_text()
    assert f"dying {side} {place}" in part.log.read_text()


def arm(part: Part, step: Step, job: str = "") -> None:
    side, place, text = step
    part.start(DYING, side, place, text.format(job=job))


def left_as_it_must_be(system: System, client: Client, campaign_id: str) -> None:
    client.ended(campaign_id)
    found: list[str] = []

    def settled() -> bool:
        found[:] = audit(system, client, campaign_id)
        return not found

    try:
        eventually(settled, "everything is as it must be")
    except AssertionError as error:
        raise AssertionError("\n".join([*found, f"logs: {system.folder}"])) from error
    assert client.problems == []


@pytest.mark.long
def test_a_worker_killed_at_any_step_loses_no_job(system: System, client: Client) -> None:
    worker = system.parts["worker-1"]
    worker.kill()
    campaigns = []  # one for each step, because the different jobs of one campaign are sent in a random order
    for step in WORKER:
        campaigns.append(submit(system, client, LARGE if "spool" in step[1] or "uploads" in step[1] else 20))
        arm(worker, step, job_id(campaigns[-1], 1))
        dies(worker, step)
    worker.start()
    for campaign in campaigns:
        left_as_it_must_be(system, client, campaign)
        assert {job["id"]: job["error"] for job in read_books(system, campaign).jobs if job["status"] != "complete"} == {}


@pytest.mark.long
def test_a_worker_killed_at_any_step_of_a_block_loses_it_once_and_each_job_ends_once(system: System, client: Client) -> None:
    worker = system.parts["worker-1"]
    for step in BLOCK:
        worker.kill()  # it still counts as alive for a while, so the block is sent to it
        campaign = client.submit(recipe(system.folder, [20, 21, 22]) | {"devices": "one", "loads": 1}, key=f"step-{next(_keys)}")
        arm(worker, step, job_id(campaign, 2))
        dies(worker, step)
        worker.start()
        left_as_it_must_be(system, client, campaign)
        books = read_books(system, campaign)
        assert [(job["status"], job["deaths"]) for job in books.jobs] == [("complete", 0)] * 3
        assert max(job["losses"] for job in books.jobs) <= 1, "and alone none of them is lost again"


@pytest.mark.long
def test_a_consumer_killed_at_any_step_loses_no_result(system: System, client: Client) -> None:
    consumer = system.parts["consumer"]
    consumer.terminate(60)
    campaigns = []
    for step in CONSUMER:
        arm(consumer, step, job="-job-1")
        campaigns.append(submit(system, client, 20))
        dies(consumer, step)
    consumer.start()
    for campaign in campaigns:
        left_as_it_must_be(system, client, campaign)


@pytest.mark.long
def test_an_api_killed_at_any_step_makes_no_campaign_twice_and_sends_every_job(system: System, client: Client) -> None:
    api, others = system.parts["api"], (system.parts["watch"], system.parts["consumer"])
    body, sent = recipe(system.folder, [20]), []
    for part in others:  # these would send the job if they saw it first
        part.terminate(60)
    for step in API:
        api.terminate(60)
        arm(api, step)
        eventually(lambda: httpx.get(f"{system.address}/api/health", verify=False).is_success, f"the API answers: {api.log}")
        sent.append({"Idempotency-Key": f"step-{next(_keys)}"})
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{system.address}/api/campaigns", json=body, headers=sent[-1], timeout=60, verify=False)
        dies(api, step)
    for part in (api, *others):
        part.start()
    for headers in sent:
        left_as_it_must_be(system, client, client.submit(body, headers["Idempotency-Key"]))


@pytest.mark.long
def test_a_watch_killed_at_any_step_of_bringing_a_job_back_is_followed_by_another(system: System, client: Client) -> None:
    watch, worker = system.parts["watch"], system.parts["worker-1"]
    watch.kill()
    worker.kill()  # the dead worker counts as alive for a while, so the message is sent and nobody takes it
    campaign = submit(system, client, 20)
    [queue] = cast("list[str]", system.redis.keys("cpu.onnx*"))  # there is one list for each priority
    assert system.redis.delete(queue)
    watch_dies(
        system, ("before", "orchestrator.dispatch.celery_queue:CeleryQueue.publish", "-job-1")
    )  # it is recorded as sent again but was not sent
    watch_dies(system, ("after", "orchestrator.dispatch.celery_queue:CeleryQueue.publish", "-job-1"))
    worker_dies_measuring(system)
    watch_dies(system, ("after", "orchestrator.watch.losses:lose", "-job-1"))  # it is back in the table, but nobody sends it
    watch.start()
    left_as_it_must_be(system, client, campaign)
    assert [job["status"] for job in read_books(system, campaign).jobs] == ["complete"]


@pytest.mark.long
def test_a_job_given_up_by_a_watch_that_is_killed_before_redis_knows_leaves_nothing(system: System, client: Client) -> None:
    watch, worker = system.parts["watch"], system.parts["worker-1"]
    watch.kill()
    worker.kill()
    campaign = submit(system, client, 20)
    with psycopg.connect(system.database_url.replace("+psycopg", ""), autocommit=True) as database:
        database.execute("UPDATE jobs SET losses = %s WHERE campaign_id = %s", [WORKERS_LOST_LIMIT - 1, campaign])
    worker_dies_measuring(system)
    watch_dies(system, ("before", "orchestrator.operations.recovery:after_end", "-job-1"))
    watch.start()
    # the consumer writes the files of campaigns that a watch has ended, both at its start and at intervals
    system.parts["consumer"].terminate(60)
    system.parts["consumer"].start()
    left_as_it_must_be(system, client, campaign)
    assert [job["status"] for job in read_books(system, campaign).jobs] == ["failed"]


def worker_dies_measuring(system: System) -> None:
    worker = system.parts["worker-1"]
    arm(worker, MEASURING)
    dies(worker, MEASURING)
    worker.start()


def watch_dies(system: System, step: Step) -> None:
    """Kill the watch at this step. It leads at once, because the key of the previous leader is deleted."""
    system.redis.delete(keys.LEADER)
    arm(system.parts["watch"], step)
    dies(system.parts["watch"], step)
    system.redis.delete(keys.LEADER)


@pytest.mark.long
def test_every_broken_promise_is_reported(system: System, client: Client) -> None:
    """The test breaks each promise for a separate job, and the audit must name it."""
    campaign = submit(system, client, *range(20, 28))
    left_as_it_must_be(system, client, campaign)
    name = {number: job_id(campaign, number) for number in range(1, 9)}
    with psycopg.connect(system.database_url.replace("+psycopg", ""), autocommit=True) as database:
        database.execute("UPDATE jobs SET status = 'running' WHERE id = %s", [name[1]])
        database.execute("DELETE FROM results WHERE job_id = %s", [name[2]])
        again = "INSERT INTO events (at, job_id, attempt, kind, detail) SELECT at, job_id, attempt, kind, detail FROM events"
        database.execute(again + " WHERE job_id = %s AND kind = 'complete'", [name[3]])
        database.execute("UPDATE jobs SET status = 'failed' WHERE id = %s", [name[4]])
        database.execute("UPDATE results SET attempt = 9 WHERE job_id = %s", [name[5]])
        database.execute("UPDATE jobs SET worker_id = 'worker-unknown' WHERE id = %s", [name[8]])
        database.execute("UPDATE campaigns SET reported_at = NULL WHERE id = %s", [campaign])
    folder = system.outputs / campaign
    (folder / "samples" / f"{name[6]}.npz").unlink()
    (folder / "logs" / f"{name[7]}.log").write_text("")
    (folder / ".results.csv.x.part").touch()
    [table] = system.outputs.glob(f"{campaign}_*.csv")
    table.write_bytes(b"".join(table.read_bytes().splitlines(keepends=True)[:-1]))
    for key in (keys.claim(name[1]), keys.answers("worker-1"), "unacked:worker-1", keys.PREFIX + "taken:x", "cpu.onnx"):
        system.redis.set(key, "left over")
    system.redis.lpush(keys.DEAD_LETTERS, DeadLetter(reason="it is no report", message="?").model_dump_json())
    spooled = system.state("worker-1") / "spool" / f"{name[1]}.1.json"
    spooled.touch()
    found = "\n".join(audit(system, client, campaign))
    for problem in (
        f"{name[1]} is running",
        f"{name[2]} is complete with 0 results",
        f"{name[3]} is complete, and its history says ['started', 'complete', 'complete']",
        f"{name[4]} is failed without a reason",
        f"{name[5]} is complete at attempt 1; its result is complete of attempt 9",
        f"{name[8]} was run by worker-",
        "the campaign counts {'complete': 8}, its rows are",
        "the API says something else than the rows",
        "its files were written at None",
        f"{name[6]}.npz is missing",
        f"{name[7]}.log has no line of attempt 1",
        ".results.csv.x.part is left over",
        f"{table.name} differs from results.csv",
        f"{table.name} differs from what the API gives",
        "the CSV has 7 rows",
        f"Redis still has {keys.claim(name[1])}",
        "fleetmark:answers:worker-1 has no time to live",
        "Redis still has unacked:worker-1",
        "Redis still has fleetmark:taken:x",
        "Redis still has cpu.onnx",
        "a dead letter: it is no report",
        f"{spooled} is still in the spool",
    ):
        assert problem in found


@pytest.mark.long
def test_a_process_that_ends_by_itself_or_outlives_the_stop_is_reported(system: System, client: Client) -> None:
    worker = system.parts["worker-1"]
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    worker.look()
    assert worker.by_itself == [f"worker-1 ended by itself with -9: {worker.log}"]
    system.stop()
    assert processes_left(system) == []
    with subprocess.Popen(["sleep", "60"], env={MARK: system.mark}) as orphan:
        assert processes_left(system) == [f"process {orphan.pid} is left: sleep 60"]
        orphan.kill()
