"""Tests with a state machine that no job is lost, in whatever order faults happen. The database and Redis are real.

Each step is something that happens to a fleet: jobs are submitted and cancelled, workers take jobs, run them, crash, come back and leave,
messages are lost, delivered twice or late, Redis loses its data, two watches lead at once. The invariants are checked after each step. At
the end all devices work, and every accepted job must end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import and_, func, or_, select
from sqlmodel import Session, col

from orchestrator.consumer.inbox import Inbox
from orchestrator.operations.cancel import cancel_campaign, cancel_job
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.retry import retry_job
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import submit_short
from orchestrator.settings import Settings
from orchestrator.store import campaigns
from orchestrator.store.tables import Campaign, Event, Job, Lane, ResultRow
from orchestrator.watch import Watch
from shared.clock import FakeClock
from shared.errors import IllegalTransition
from shared.jobs import TERMINAL, JobStatus
from shared.protocol.messages import REPORT
from tests.integration.redis_time import pass_time
from tests.integration.simulated import SimulatedDevice

BEAT_S = 5.0
WORK = [
    *(("cpu.onnx", None, "one"), ("GPU (ONNX)", None, "any"), ("cpu.onnx", "pi-0", "any"), ("cpu.onnx", "absent", "any")),
    ("cpu.onnx", None, "any"),
]
DEVICES = [("pi-0", ("cpu.onnx",)), ("pi-1", ("cpu.onnx",)), ("big-2", ("cpu.onnx", "gpu.rocm.onnx"))]
SPARE = 1  # the index of the device that is dead at the end
LIMITS_S = (60, 100_000, 100_000)  # two limits are long, so that a lost job must be found before its deadline
QUEUES = ("cpu.onnx", "gpu.rocm.onnx", "cpu.onnx\x06\x163", "gpu.rocm.onnx\x06\x163")
HAPPENS = (*["work"] * 6, "submit", *["consume"] * 3, "answers", "look", *["time"] * 3, *["fault"] * 3)
FAULTS = (
    *("cancel", "crash", "come_back", "leave", "change_network", "cut_off", "forgive", "vanish", "double", "deliver_again"),
    *("consumer_dies", "forget", "two_lead", "retry"),
)
ENDINGS = ("complete", "failed", "died", "failed")
SETTLED_AFTER = 200  # the largest number of rounds, each of one heartbeat


class Row(NamedTuple):
    """Holds the part of a job's row that is compared."""

    id: str
    campaign_id: str
    status: str
    attempt: int
    losses: int
    deaths: int
    worker_id: str | None
    error: str | None
    ended_at: Any


class Fleet(RuleBasedStateMachine):
    """Simulates a control plane and three devices, each with one worker or none, and the faults between them."""

    def __init__(self, ctx: Context, clock: FakeClock) -> None:
        super().__init__()
        self.ctx, self.clock = ctx, clock
        ctx.store.transact(campaigns.delete_all)
        ctx.registry.redis.flushall()
        self.memory = 0  # the number of times that Redis has lost its data
        self.watches = [Watch(ctx), Watch(ctx)]
        self.inbox = Inbox(ctx.settings.redis_url)
        self.devices = [
            SimulatedDevice(name, capabilities, ctx.registry.redis, ctx.settings.redis_url, ctx.registry.timeout_s, clock)
            for name, capabilities in DEVICES
        ]
        self.ended: dict[str, tuple[Row, Any]] = {}  # each ended job as it was when its end was first seen
        self.before: dict[str, Row] = {}
        self.claimed: set[tuple[str, int, str]] = set()  # the job, attempt and worker of each claim
        self.of_one: set[str] = set()  # the campaigns whose jobs all go to one device
        self.newest: dict[str, tuple[int, int]] = {}  # the newest claim of each job: how often Redis had lost its data, and the attempt

    # These steps are the normal work.

    @initialize(which=st.integers(0, 99), faults=st.sets(st.sampled_from(FAULTS), min_size=1, max_size=5), logins=st.booleans())
    def begin(self, which: int, faults: set[str], logins: bool) -> None:
        """Choose the faults of this run. Each run has only a few kinds, because many kinds at once would hide what one of them does."""
        self.faults = sorted(faults)
        # With logins, only the worker that claimed an attempt may report on it. This must not lose anything either.
        self.ctx = replace(self.ctx, settings=self.ctx.settings.model_copy(update={"broker_logins": logins}))
        for turn in range(3):
            self._submit(which + turn, turn > 0)
            self._work(turn, False)

    @rule(what=st.sampled_from(HAPPENS), which=st.integers(0, 99), coin=st.booleans())
    def happens(self, what: str, which: int, coin: bool) -> None:
        if what == "fault":
            what = self.faults[which % len(self.faults)]
        getattr(self, f"_{what}")(which // 10, coin)

    def _submit(self, which: int, coin: bool) -> None:
        unit, device, devices = WORK[which % len(WORK)]
        self.clock.advance(0.01)  # ids are sorted by this time
        one = {"compute_unit": unit, "device": device, "priority": 5 if coin else 9, "timeout_s": LIMITS_S[which % 3]}
        body = {
            "model_url": "https://models.example/squeezenet.onnx",
            "jobs": [one] * (1 + which % 3),
            "devices": devices,
            "wait_for_device": True,  # one device is absent
        }
        made = submit_short(self.ctx, ShortCampaign.model_validate(body, strict=False))
        if devices == "one":
            self.of_one.add(made.campaign.id)

    def _work(self, which: int, coin: bool) -> None:
        """Let a device take the next step: start its worker, take a message, claim the job, or finish it."""
        device = self.devices[which % len(self.devices)]
        if device.process is None and device.connected:
            device.start()
        now = device.process
        if now is None:
            return
        if now.runs is not None:
            device.finish("complete" if coin else ENDINGS[which % len(ENDINGS)])
        elif device.connected and now.message is not None:
            self._claim(device, heard=coin)
        elif device.connected and not now.resting:
            device.take()
            if coin and now.message is not None:
                self._claim(device, heard=which % 5 > 0)

    def _claim(self, device: SimulatedDevice, heard: bool) -> None:
        now = device.process
        assert now is not None
        if device.claim(heard=heard) != "claimed":
            return
        now.claimed_in = self.memory
        job_id, attempt = device.held()
        row = self._rows()[job_id]
        assert JobStatus(row.status) not in TERMINAL or self.memory > self._forgotten_at(row.id), "what has ended cannot be claimed"
        assert attempt <= row.attempt, "an attempt that was never issued"
        self.claimed.add((job_id, attempt, now.worker_id))
        assert self.newest.get(job_id, (0, 0)) <= (self.memory, attempt), "a superseded attempt is not claimed"
        self.newest[job_id] = (self.memory, attempt)
        for other in (each.process for each in self.devices if each is not device and _works(each)):
            living = other is not None and self.clock.monotonic() - other.last_beat < self.ctx.registry.timeout_s
            if other is not None and living and other.runs == (job_id, attempt):
                assert other.claimed_in < self.memory, "one attempt, claimed by two living workers"

    def _forgotten_at(self, job_id: str) -> int:
        """Return how often Redis had lost its data when this job ended. Redis knew of the end until the next loss."""
        return self.ended[job_id][1] if job_id in self.ended else self.memory

    def _answers(self, which: int, coin: bool) -> None:
        if device := self._device(which, _works):
            device.collect()
            if coin:
                device.resend()

    def _consume(self, which: int, coin: bool) -> None:
        reports = [REPORT.validate_json(message.body) for message in self.inbox.take(50 if coin else 1 + which % 3)]
        if reports:
            record(self.ctx, reports)
        self.inbox.done()

    def _look(self, which: int, coin: bool) -> None:
        self.watches[which % 2].once()

    # These steps are the faults.

    def _device(self, which: int, able: Callable[[SimulatedDevice], bool]) -> SimulatedDevice | None:
        """Return one of the devices that can do this now."""
        found = [device for device in self.devices if able(device)]
        return found[which % len(found)] if found else None

    def _cancel(self, which: int, coin: bool) -> None:
        row = list(self.before.values())[which % len(self.before)]
        with self.ctx.store.read() as session:
            over = campaigns.get(session, row.campaign_id).status == "completed" if coin else row.status in ("complete", "failed")
        with pytest.raises(IllegalTransition) if over else nullcontext():
            if coin:
                cancel_campaign(self.ctx, row.campaign_id)
            else:
                cancel_job(self.ctx, row.id)

    def _retry(self, which: int, coin: bool) -> None:
        row = list(self.before.values())[which % len(self.before)]
        with self.ctx.store.read() as session:
            refused = campaigns.get(session, row.campaign_id).status == "cancelled" or row.status not in ("failed", "cancelled")
        with pytest.raises(IllegalTransition) if refused else nullcontext():
            assert retry_job(self.ctx, row.id).job.retry_of == row.id

    def _crash(self, which: int, coin: bool) -> None:
        if device := self._device(which, lambda device: device.process is not None):
            device.crash()

    def _come_back(self, which: int, coin: bool) -> None:
        """Crash a worker and start it again. Both happen within two seconds."""
        if device := self._device(which, _works):
            device.crash()
            device.start()

    def _leave(self, which: int, coin: bool) -> None:
        if device := self._device(which, _works):
            runs = device.process.runs if device.process else None
            device.leave(heard=coin)
            if runs is not None and self.newest.get(runs[0]) == (self.memory, runs[1]):
                del self.newest[runs[0]]  # the claim was released

    def _change_network(self, which: int, coin: bool) -> None:
        device = self.devices[which % len(self.devices)]
        device.connected = not device.connected

    def _cut_off(self, which: int, coin: bool) -> None:
        """Disconnect a device until it counts as faulty. When it is back, it continues with the work that it had."""
        if device := self._device(which, _works):
            device.connected = False
            for _ in range(16):
                self._pass(BEAT_S, watched=True)
            device.connected = True

    def _forgive(self, which: int, coin: bool) -> None:
        known = [worker for worker in self.ctx.registry.all() if worker.status != "gone"]
        if known:
            self.ctx.registry.reset(known[which % len(known)].id)

    def _vanish(self, which: int, coin: bool) -> None:
        """Remove a message from its queue, so that nobody receives it."""
        self.ctx.registry.redis.rpop(QUEUES[which % len(QUEUES)])

    def _double(self, which: int, coin: bool) -> None:
        for text in self.ctx.registry.redis.lrange(QUEUES[which % len(QUEUES)], -1, -1):
            self.ctx.registry.redis.lpush(QUEUES[which % len(QUEUES)], text)

    def _deliver_again(self, which: int, coin: bool) -> None:
        """Put the message of a job in hand, or of a finished one, into its queue again."""
        if device := self._device(which, lambda device: device.last is not None):
            assert device.last is not None
            self.ctx.registry.redis.rpush(device.last.source, device.last.text)

    def _consumer_dies(self, which: int, coin: bool) -> None:
        """Kill the consumer before or after its transaction. The messages that it had taken return to the queue later."""
        reports = [REPORT.validate_json(message.body) for message in self.inbox.take(1 + which % 3)]
        if reports and coin:
            record(self.ctx, reports)
        self.inbox = Inbox(self.ctx.settings.redis_url)

    def _forget(self, which: int, coin: bool) -> None:
        """Delete all data of Redis."""
        self.ctx.registry.redis.flushall()
        self.memory += 1

    def _two_lead(self, which: int, coin: bool) -> None:
        for watch in self.watches:
            self.ctx.registry.redis.delete("fleetmark:leader")
            watch.once()

    # These steps let time pass.

    def _time(self, which: int, coin: bool) -> None:
        for _ in range((1, 2, 8, 20)[which % 4]):
            self._pass(BEAT_S, watched=coin or which % 3 > 0)

    def _pass(self, seconds: float, *, watched: bool) -> None:
        pass_time(self.ctx.registry.redis, seconds)
        self.clock.advance(seconds)
        for device in self.devices:
            if _works(device):
                device.beat()
        if watched:
            self.watches[0].once()

    # These are the invariants.

    def _rows(self) -> dict[str, Row]:
        columns = [getattr(Job, name) for name in Row._fields]
        with self.ctx.store.read() as session:
            return {row[0]: Row(*row) for row in session.execute(select(*columns).order_by(col(Job.campaign_id), col(Job.number)))}

    @invariant()
    def holds(self) -> None:
        rows = self._rows()
        with self.ctx.store.read() as session:
            kept = list(session.scalars(select(Campaign)))
            recorded = {job_id: (attempt, worker) for job_id, attempt, worker in session.execute(select(*_RECORDED))}
            ends = dict(session.execute(select(col(Event.job_id), func.count()).where(col(Event.kind).in_(_ENDS)).group_by("job_id")).all())
            setbacks = {tuple(row) for row in session.execute(select(*_OWNED).where(col(Event.kind).in_(_SETBACKS)))}
        assert setbacks <= self.claimed, "an attempt ends with the worker that claimed it"
        for campaign_id in self.of_one:
            workers = {worker for job_id, _, worker in self.claimed if job_id.startswith(f"{campaign_id}-")}
            workers |= {worker for job_id, (_, worker) in recorded.items() if job_id.startswith(f"{campaign_id}-")}
            assert len(workers) <= 1, "all jobs of the campaign go to one device"
        for campaign in kept:
            mine = [row for row in rows.values() if row.campaign_id == campaign.id]
            for status in JobStatus:
                assert getattr(campaign, f"{status}_jobs") == sum(row.status == status for row in mine), "counters equal the rows"
            assert campaign.total_jobs == len(mine)
            assert (campaign.status == "running") == any(JobStatus(row.status) not in TERMINAL for row in mine)
        for row in rows.values():
            self._holds_for(row, recorded.get(row.id), ends.get(row.id, 0))
        self.before = rows

    def _holds_for(self, row: Row, recorded: tuple[int, str] | None, ends: int) -> None:
        before = self.before.get(row.id)
        assert before is None or row.attempt >= before.attempt, "attempts are never issued twice"
        assert row.attempt >= 1 + row.losses + row.deaths - (row.status == "failed"), "each setback has its own attempt"
        assert row.losses <= 3, "harms no fourth worker"
        assert row.deaths <= 3
        if JobStatus(row.status) in TERMINAL:
            first, _ = self.ended.setdefault(row.id, (row, self.memory))
            assert row == first, "a terminal state is never left"
            assert ends == 1, "it ended once"
            assert row.status == "complete" or row.error, "and says why"
            assert recorded is not None or row.status != "complete"
            assert recorded is None or row.status == "complete" or recorded[0] == row.attempt, "a failure of an earlier attempt is none"
        else:
            assert recorded is None
            assert ends == 0
            assert (row.worker_id is not None) == (row.status == "running")
            assert row.worker_id is None or (row.id, row.attempt, row.worker_id) in self.claimed, "runs where it was claimed"

    # This is the end of a run.

    def teardown(self) -> None:
        """Check that every accepted job ends. All devices work now; jobs that no device can run end at their queue timeout."""
        for device in self.devices:
            device.connected = True
            if device.process is None:
                device.start()
        self._spare_one()
        for _ in range(SETTLED_AFTER):
            self._settle()
            if not self._doable():
                break
        assert not self._doable(), "only what nobody can do is left"
        self._shorten_patience()
        for _ in range(SETTLED_AFTER):
            self._settle()
            if {row.status for row in self._rows().values()} <= set(TERMINAL):
                break
        assert {row.status for row in self._rows().values()} <= set(TERMINAL), "every accepted job ends"
        assert not any(device.spool for device in self.devices if device.process is not None), "and every result is answered"
        with self.ctx.store.read() as session:
            assert "running" not in {status for (status,) in session.execute(select(col(Campaign.status)))}
        for device in filter(_works, self.devices):
            device.crash()
        self.inbox.close()

    def _shorten_patience(self) -> None:
        """Set the queue deadlines to a minute instead of a day. Only watched time counts, and a day has many heartbeats."""

        def write(session: Session) -> None:
            for campaign in session.scalars(select(Campaign)):
                campaign.queue_deadline_at = campaign.created_at + timedelta(seconds=60)

        self.ctx.store.transact(write)

    def _spare_one(self) -> None:
        """Let one device take work and disappear: it dies, it dies and Redis loses its data, or its last report is lost."""
        for _ in self.devices:
            self._submit(4, False)  # these jobs are urgent and have no short limit, and there are enough for all devices
        self._settle(and_finish=False)
        spare = self.devices[SPARE]
        if len(self.before) % 3 == 0:
            spare.leave(heard=False)
        else:
            spare.crash()
        if len(self.before) % 3 == 1:
            self._forget(0, True)

    def _settle(self, *, and_finish: bool = True) -> None:
        self._pass(BEAT_S, watched=True)
        for device in filter(_works, self.devices):
            now = device.process
            assert now is not None
            if now.runs is None and now.message is None and not now.resting:
                device.take()
            if now.runs is None and now.message is not None:
                self._claim(device, heard=True)
            if now.runs is not None and and_finish:
                device.finish("complete")
        self._consume(0, True)
        for device in filter(_works, self.devices):
            device.collect()
            device.resend()
        self.holds()

    def _doable(self) -> list[Row]:
        """Return the jobs that have not ended, except for those that wait for a device that is not there."""
        here = [device.process.worker_id for device in self.devices if device.process is not None]
        gone = or_(col(Lane.device) == "absent", and_(col(Lane.one_device), col(Lane.device).not_in(here)))
        with self.ctx.store.read() as session:
            absent = set(session.scalars(select(col(Lane.id)).where(gone)))
            lanes = dict(session.execute(select(col(Job.id), col(Job.lane_id))).all())
        return [row for row in self._rows().values() if JobStatus(row.status) not in TERMINAL and lanes[row.id] not in absent]


_RECORDED: list[Any] = [col(ResultRow.job_id), col(ResultRow.attempt), col(ResultRow.worker_id)]
_OWNED: list[Any] = [col(Event.job_id), col(Event.attempt), col(Event.worker_id)]
_SETBACKS = ["lost", "died", "handed_back"]
_ENDS = [*(str(status) for status in TERMINAL), "queue_timeout", "deadline_exceeded"]


def _works(device: SimulatedDevice) -> bool:
    return device.process is not None and device.connected


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the settings of production, except that a device is put into quarantine sooner."""
    return settings.model_copy(update={"watch_sweep_s": 2.0, "deadline_grace_s": 60.0, "quarantine_after": 2})


def test_whatever_happens_in_whatever_order_nothing_is_lost_and_every_job_ends(ctx: Context, clock: FakeClock) -> None:
    long = hypothesis.settings.get_current_profile_name() == "long"
    profile = hypothesis.settings(
        max_examples=300 if long else 3 if ctx.store.is_sqlite else 2,
        stateful_step_count=200 if long else 100,
        derandomize=not long,
        database=None,
        print_blob=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine: Any = lambda: Fleet(ctx, clock)  # noqa: E731 (hypothesis asks for a class, and is content with what makes one)
    run_state_machine_as_test(machine, settings=profile)
