"""Drives a language model that speaks OpenAI's protocol with `vllm bench serve`, with the prompts and the bodies of our own driver.

It writes what became of each request (`--save-detailed`): when it was sent, how long it waited before, the time to the first event, the
times between events, and the numbers of tokens. Each request becomes one of our records. Its own tokenizer is left out: the prompts are
ours, and the server counts the tokens.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from array import array
from collections.abc import Mapping
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from time import perf_counter_ns, time_ns
from typing import Any, cast

from shared.errors import EngineUnavailable, JobCancelled, ModelInvalid
from shared.request_records import CLOSED, NOT_CONNECTED, RECORD, STATUS, SUCCESS, TIMEOUT, TOO_MANY, WRONG
from shared.token_records import EVENTS, GAPS, NAN, NOTHING, TEXTS, TOKENS, USAGE
from shared.token_records import RECORD as OF_TOKENS
from worker.drivers.base import Work
from worker.drivers.language_model import LanguageModelDriver
from worker.drivers.prompts import prompts_of
from worker.drivers.registry import resolve
from worker.tools.base import Ended, EndsEarly, News, ToolPhase, ToolRun
from worker.tools.program import find_program, run_program, version_of

IN_FLIGHT_BEFORE = 2  # requests of a warm-up for each one in flight
NAME, PROGRAM = "vllm-bench", "vllm"
ASK_VERSION = "import importlib.metadata as m; print(m.version('vllm'))"
VERSION_S = 30.0
# A proxy of the environment would be measured with the service; our own clients use none.
ENVIRONMENT = {"NO_PROXY": "*", "no_proxy": "*", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
WRITTEN_BY_IT = ("model", "messages", "prompt", "stream", "stream_options")  # keys of a body
PROGRESS = re.compile(r"\b(\d+)/(\d+) \[")
ERROR = re.compile(r"^\s*(\w+\.)*\w*(Error|Exception)\b|error:")
OF_EXCEPTIONS = {
    "ClientConnectorError": NOT_CONNECTED,
    "TimeoutError": TIMEOUT,
    "ServerDisconnectedError": CLOSED,
    "ClientOSError": CLOSED,
    "ClientPayloadError": CLOSED,
    "ConnectionResetError": CLOSED,
}
NO_EVENT = "Never received a valid chunk"
PHRASES = {status.phrase: status.value for status in HTTPStatus}
PRINTED = ("request_throughput", "output_throughput", "total_token_throughput", "mean_e2el_ms", "median_e2el_ms", "p99_e2el_ms", "duration")


class VllmBench:
    """Implements `worker.tools.base.Tool`."""

    operations = ("ask",)

    def __init__(self, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._settings, self._key = settings, secrets.get("key", "")
        self._driver = cast("LanguageModelDriver", resolve("openai")(Work(address, settings, secrets=secrets)))

    def version(self) -> str:
        program = _program()
        # `vllm --version` imports torch, which takes many seconds; the metadata of the package say the same.
        python = Path(program).resolve().parent / "python"
        if not python.exists():
            return version_of(program)
        said = subprocess.run([python, "-I", "-c", ASK_VERSION], capture_output=True, text=True, check=False, timeout=VERSION_S).stdout
        return f"vllm {said.strip() or 'of an unknown version'}"

    def words(self, phase: ToolPhase, model: str) -> list[str]:
        """Return the command line, which has no key."""
        driver, address = self._driver, self._driver.address
        body = driver.body("")
        extra = {name: value for name, value in body.items() if name not in WRITTEN_BY_IT}
        if driver.chat and "max_tokens" in extra:  # it writes this key itself in a chat, with another number
            extra["max_completion_tokens"] = extra["max_tokens"]
        rate = "inf" if phase.rate is None else f"{phase.rate:g}"
        return [
            *(_program(), "bench", "serve", "--backend", "openai-chat" if driver.chat else "openai", "--model", model),
            *("--base-url", f"{'https' if address.tls else 'http'}://{address.named}", "--endpoint", driver.path),
            *("--dataset-name", "custom", "--dataset-path", f"{phase.name}.jsonl", "--disable-shuffle", "--skip-tokenizer-init"),
            *("--num-prompts", str(warm_up_of(phase) + (phase.count or 0)), "--max-concurrency", str(phase.in_flight)),
            *("--request-rate", rate, "--burstiness", f"{phase.burstiness:g}", "--seed", str(phase.seed)),
            *("--extra-body", json.dumps(extra), "--percentile-metrics", "e2el", "--ready-check-timeout-sec", "0"),
            *("--save-result", "--save-detailed", "--result-filename", f"{phase.name}.bench.json"),
        ]

    def run(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> ToolRun:
        if phase.count is None:
            raise ModelInvalid(
                "vllm bench serve takes a number of requests and no time; leave out `duration_s`, or write `driver: fleetmark`"
            )
        before = warm_up_of(phase)
        prompts = self._prompts(phase, before + phase.count)
        (phase.folder / f"{phase.name}.jsonl").write_text("".join(f"{json.dumps({'prompt': prompt})}\n" for prompt in prompts))
        words = self.words(phase, self._driver.model or asyncio.run(self._driver.models())[0])

        def hear(line: str) -> None:
            if found := PROGRESS.search(line):
                on_news(f"{found[1]} of {found[2]} requests")

        # Without a key of ours it is empty, so that a key of the worker's user is not sent to this address.
        ended = run_program(words, phase.folder, {**ENVIRONMENT, "OPENAI_API_KEY": self._key}, hear, ends_early)
        if ended.early:
            raise JobCancelled("vllm bench serve was ended, and it tells nothing before its end")
        try:
            told = json.loads((phase.folder / words[-1]).read_text())
            measured = bool(told["start_times"])
        except (OSError, ValueError, KeyError) as error:
            raise EngineUnavailable(f"vllm bench serve measured nothing (exit code {ended.code}): {self._why(ended)}") from error
        if ended.code or not measured:
            raise EngineUnavailable(f"vllm bench serve measured nothing (exit code {ended.code}): {self._why(ended)}")
        records = phase.folder / f"{phase.name}.records"
        begin = write_records(records, told, before, scheduled=phase.rate is not None)
        if self._settings.get("keep_prompts"):
            records.with_suffix(f".{TEXTS}").write_text("".join(f"{json.dumps(prompt)}\n" for prompt in prompts))
        return ToolRun(
            command=shlex.join(words),
            printed={name: float(told[name]) for name in PRINTED if told.get(name) is not None},
            # Its clock is the one of `perf_counter`, which all processes of a device share.
            began_at=(time_ns() - perf_counter_ns()) / 1e9 + begin,
            records=records,
        )

    def _prompts(self, phase: ToolPhase, count: int) -> list[str]:
        source = prompts_of({name: value for name, value in self._settings.items() if value is not None}, str(phase.seed))
        prompts = [source.text(number) for number in range(count)]
        if all(_is_number(prompt) for prompt in prompts):
            raise ModelInvalid(
                f"vllm bench serve would send prompts such as {prompts[0]!r:.100}, which are all numbers, not as text; write other "
                "prompts, or `driver: fleetmark`"
            )
        return prompts

    def _why(self, ended: Ended) -> str:
        """Return the last error that it names; what follows says nothing of it."""
        why = next((line.strip()[:500] for line in reversed(ended.errors) if ERROR.search(line)), ended.last_words())
        return why.replace(self._key, "***") if self._key else why


def warm_up_of(phase: ToolPhase) -> int:
    """Return how many requests are sent before the measured ones. Nobody knows how many a closed loop sends in a time."""
    if not phase.lead_s:
        return 0
    return IN_FLIGHT_BEFORE * phase.in_flight if phase.rate is None else max(1, round(phase.rate * phase.lead_s))


def write_records(records: Path, told: Mapping[str, Any], before: int, *, scheduled: bool) -> float:
    """Write the records of the requests, and those of their tokens beside them.

    Returns when the first measured request was due, by the clock of the tool.

    Args:
        before: How many requests belong to the warm-up.
        scheduled: Whether requests were due at moments of their own. Otherwise each is due when it is sent.
    """
    starts, outputs, errors = told["start_times"], told["output_lens"], told["errors"]
    waits = told.get("queue_times") if scheduled else None
    waits = waits or [0.0] * len(starts)
    begin = sorted(start - wait for start, wait in zip(starts, waits, strict=True))[before]
    with ExitStack() as stack:
        to_records = stack.enter_context(records.open("wb"))
        to_tokens = stack.enter_context(records.with_suffix(f".{TOKENS}").open("wb"))
        to_gaps = stack.enter_context(records.with_suffix(f".{GAPS}").open("wb"))
        for number, (start, wait) in enumerate(zip(starts, waits, strict=True)):
            first, gaps = told["ttfts"][number], told["itls"][number]
            failure, status = failure_of(errors[number], answered=first > 0)
            last = first + sum(gaps) if failure == SUCCESS else 0.0
            due_ns = round((start - wait - begin) * 1e9)
            to_records.write(RECORD.pack(due_ns, wait * 1e9, NAN, last * 1e9, 0, status, 0, failure))
            if failure != SUCCESS:
                to_tokens.write(NOTHING)
                continue
            events, output = len(gaps) + 1, int(outputs[number])
            counted = output > 1 or events <= 2  # it writes 1 for both numbers if the server has not counted the tokens
            known = (int(told["input_lens"][number]), output) if counted else (0, events)
            counts = (*known, 0, events, 0, USAGE if counted else EVENTS, 0, True, 0)
            to_tokens.write(OF_TOKENS.pack(first * 1e9, NAN, last * 1e9, NAN, *counts))
            to_gaps.write(array("f", (gap * 1e9 for gap in gaps)).tobytes())
    return float(begin)


def failure_of(error: str, *, answered: bool) -> tuple[int, int]:
    """Return what became of a request, and the status of HTTP if it failed with one."""
    if not error:
        return (SUCCESS, 0) if answered else (WRONG, 0)
    if error in PHRASES:
        status = PHRASES[error]
        return (TOO_MANY if status == HTTPStatus.TOO_MANY_REQUESTS else STATUS), status
    if "\n" not in error and not error.startswith(NO_EVENT):
        return STATUS, 0  # the words that a server has for its status, which are its own
    return next((failure for name, failure in OF_EXCEPTIONS.items() if name in error), WRONG), 0


def _program() -> str:
    return find_program(NAME, Path(sys.executable).parent, program=PROGRAM)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
