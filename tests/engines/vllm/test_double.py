"""Tests that the real vLLM has the calls that its double has, with the same arguments."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.sampling_params import RequestOutputKind
from vllm.v1.executor.abstract import Executor
from vllm.v1.metrics.stats import RequestStateStats

from tests import vllm_double


@pytest.mark.parametrize(
    ("double", "real"),
    [
        (vllm_double.LLMEngine.__init__, LLMEngine.__init__),
        (vllm_double.LLMEngine.add_request, LLMEngine.add_request),
        (vllm_double.LLMEngine.step, LLMEngine.step),
        (vllm_double.LLMEngine.has_unfinished_requests, LLMEngine.has_unfinished_requests),
        (vllm_double.EngineArgs.create_engine_config, EngineArgs.create_engine_config),
        (vllm_double.Executor.get_class, Executor.get_class),
        (vllm_double.Executor.__init__, Executor.__init__),
        (vllm_double.Executor._init_executor, Executor._init_executor),
    ],
    ids=lambda one: one.__qualname__,
)
def test_a_call_takes_what_the_double_takes(double: Any, real: Any) -> None:
    ours, theirs = (inspect.signature(one).parameters for one in (double, real))
    assert [name for name in ours if name not in theirs] == []
    required = [name for name, one in theirs.items() if one.default is inspect.Parameter.empty and one.kind.name != "VAR_KEYWORD"]
    assert [name for name in required if name not in ours] == [], "the double leaves out what must be given"


def test_arguments_and_results_have_the_names_of_the_double() -> None:
    arguments = {one.name for one in dataclasses.fields(EngineArgs)}
    assert {one.name for one in dataclasses.fields(vllm_double.EngineArgs)} <= arguments
    assert {one.name for one in dataclasses.fields(vllm_double.SamplingParams)} <= set(inspect.signature(SamplingParams).parameters)
    assert {one.name for one in vllm_double.RequestOutputKind} == {one.name for one in RequestOutputKind}
    stamps = {one.name for one in dataclasses.fields(RequestStateStats)}
    assert {"queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"} <= stamps
    assert TokensPrompt(prompt_token_ids=[1])["prompt_token_ids"] == [1]
