"""Serves comparisons: whether a campaign got worse than another. The matrix of one campaign is in `matrix`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.context import Ctx
from orchestrator.api.errors import documented
from orchestrator.api.ids import campaign_id_of
from orchestrator.api.times import text
from orchestrator.operations.comparison import compare_campaigns, metric_of
from orchestrator.store.tables import Campaign
from orchestrator.verdicts.comparison import Evidence, Judged
from orchestrator.verdicts.facts import must_be_equal
from orchestrator.verdicts.figures import COMPARED, compared_figure
from orchestrator.verdicts.sides import Side
from orchestrator.verdicts.terms import LEAST_LEVEL, LEVEL, MAX_REGRESSION, MOST_LEVEL, SHARE, Terms, allowed_facts, share_of
from shared.figures import Figure
from shared.ids import CAMPAIGN_ID

router = APIRouter(prefix="/api", tags=["comparisons"])

COMPARISON_FORMAT = 1
# 1: the first format.
NEW = "NEW"
NOTHING_TO_COMPARE = "BASE has no job of this work on this device, so nothing can be said about it"
MAX_LISTED = 1_000  # the most pairs in one answer, the worst first; `pairs_total` and `counts` cover all of them


class Compared(BaseModel):
    campaign_id: str
    name: str
    status: str
    created_at: str
    ended_at: str | None
    total_jobs: int


class DifferenceBody(BaseModel):
    fact: str
    baseline: str | None = Field(description="null if it is not recorded")
    current: str | None
    allowed: bool


class ScoreBody(BaseModel):
    name: str
    unit: str
    better: str
    baseline: float | None = Field(description="null if it was not judged by this scorer")
    baseline_low: float | None = Field(description="the lower end of the 95 % interval over the documents")
    baseline_high: float | None
    current: float | None
    current_low: float | None
    current_high: float | None


class PairBody(BaseModel):
    title: str = Field(description="the model, with the values that the recipe varied")
    device: str
    compute_unit: str
    baseline_job: str
    current_job: str | None
    verdict: str
    reason: str
    baseline: float | None = Field(description="median of the per-repeat values")
    current: float | None
    delta: float | None = Field(description="current - baseline, in `unit`")
    effect: float | None = Field(description="how much worse it got, as a fraction of the baseline: 0.1 is 10 % worse")
    effect_low: float | None = Field(description="the lower end of the interval of the effect; null with too few repeats")
    effect_high: float | None
    confidence: float | None = Field(description="what the interval really covers")
    p: float | None = Field(description="two-sided, exact up to 60 repeats on both sides together")
    p_adjusted: float | None = Field(description="corrected for the number of pairs that were judged (Hochberg); null if it was not judged")
    baseline_repeats: int
    current_repeats: int
    differences: list[DifferenceBody]
    scores: list[ScoreBody] = Field(description="how good the answers of language models are; they do not change the verdict")
    warnings: list[str]


class OnlyCurrent(BaseModel):
    job_id: str
    title: str
    device: str
    compute_unit: str
    verdict: str = Field(description="always NEW: the verdict on the whole does not depend on it")
    reason: str


class Comparison(BaseModel):
    format: int
    verdict: str = Field(description="PASS, FAIL or INCONCLUSIVE")
    summary: str = Field(description="the verdict in one sentence")
    baseline: Compared
    current: Compared
    metric: str
    unit: str
    better: str
    max_regression: float = Field(description="the threshold, as a fraction of the baseline")
    level: float
    allowed: list[str] = Field(description="facts that were allowed to differ")
    method: str
    counts: dict[str, int] = Field(description="pairs by verdict")
    pairs_total: int
    pairs: list[PairBody] = Field(description=f"the worst first; at most {MAX_LISTED}")
    only_current_total: int
    only_current: list[OnlyCurrent] = Field(description="jobs without a counterpart in the baseline")


METHOD = (
    "The median of each repeat (a fresh process) is one value. FAIL: the ratio of the medians of these values is above the threshold, and "
    "the Mann-Whitney test, corrected for the number of pairs by Hochberg's procedure, is below the level. PASS: the interval of the ratio "
    "(the inverse of the same test) ends within the threshold. Anything else is INCONCLUSIVE."
)
_ID: dict[str, Any] = {"pattern": f"^{CAMPAIGN_ID.pattern}$"}
_FACTS = "|".join(must_be_equal())


@router.get("/compare", name="compare_campaigns", response_model=Comparison, responses=documented(404, 409, 413, 422))
def get_comparison(
    ctx: Ctx,
    baseline: Annotated[str, Query(json_schema_extra=_ID, description="the campaign to compare with")],
    current: Annotated[str, Query(json_schema_extra=_ID, description="the campaign that may have got worse")],
    max_regression: Annotated[
        str,
        Query(
            json_schema_extra={"pattern": f"^({SHARE.pattern})$"},
            description="how much worse is accepted: `5%` (in a URL `5%25`) or `0.05`",
        ),
    ] = MAX_REGRESSION,
    level: Annotated[
        float, Query(ge=LEAST_LEVEL, le=MOST_LEVEL, description="the accepted probability of a FAIL although nothing changed")
    ] = LEVEL,
    metric: Annotated[
        str | None, Query(json_schema_extra={"enum": list(COMPARED)}, description="the default is the headline of the kind of work")
    ] = None,
    allow: Annotated[
        list[str] | None,
        Query(
            json_schema_extra={"items": {"type": "string", "pattern": f"^({_FACTS})(,({_FACTS}))*$"}},
            description="facts that may differ, such as `runtime`; several times, or with commas",
        ),
    ] = None,
) -> JSONResponse:
    """Say whether a campaign got worse than another: PASS, FAIL or INCONCLUSIVE, for each pair of jobs and for all of them."""
    if metric is not None:
        compared_figure(metric)  # a wrong name is refused whatever the campaigns are
    share, allowed = share_of(max_regression), allowed_facts(allow or [])
    ids = campaign_id_of(baseline), campaign_id_of(current)
    terms = Terms(figure=metric_of(ctx, metric, *ids, compared=True), max_regression=share, level=level, allowed=allowed)
    found = compare_campaigns(ctx, *ids, terms)
    judged, only_current = found.comparison.judged, found.comparison.only_current
    return JSONResponse(
        {
            "format": COMPARISON_FORMAT,
            "verdict": found.comparison.verdict.value,
            "summary": found.comparison.summary,
            "baseline": _campaign(found.baseline),
            "current": _campaign(found.current),
            "metric": terms.figure.name,
            "unit": terms.figure.unit,
            "better": terms.figure.better,
            "max_regression": terms.max_regression,
            "level": terms.level,
            "allowed": sorted(terms.allowed),
            "method": METHOD,
            "counts": found.comparison.counts(),
            "pairs_total": len(judged),
            "pairs": [_pair(one, terms) for one in judged[:MAX_LISTED]],
            "only_current_total": len(only_current),
            "only_current": [_new(side) for side in only_current[:MAX_LISTED]],
        }
    )


def _campaign(one: Campaign) -> dict[str, Any]:
    return {
        "campaign_id": one.id,
        "name": one.name,
        "status": one.status,
        "created_at": text(one.created_at),
        "ended_at": text(one.ended_at),
        "total_jobs": one.total_jobs,
    }


def _identity(side: Side) -> dict[str, Any]:
    return {"title": side.title, "device": side.device, "compute_unit": side.unit}


def _new(side: Side) -> dict[str, Any]:
    return _identity(side) | {"job_id": side.job_id, "verdict": NEW, "reason": NOTHING_TO_COMPARE}


def _pair(one: Judged, terms: Terms) -> dict[str, Any]:
    base, new = one.pair.baseline, one.pair.current
    assert base is not None, "a job of the current campaign alone has no verdict"
    return {
        **_identity(new if new is not None and new.device else base),
        "baseline_job": base.job_id,
        "current_job": new.job_id if new is not None else None,
        "verdict": one.verdict.value,
        "reason": one.reason,
        **_figures(one.evidence),
        "baseline_repeats": len(base.values),
        "current_repeats": len(new.values) if new is not None else 0,
        "differences": [
            {"fact": item.fact, "baseline": item.baseline, "current": item.current, "allowed": item.fact in terms.allowed}
            for item in one.differing
        ],
        "scores": _scores(base, new),
        "warnings": list(one.warnings),
    }


def _scores(base: Side, new: Side | None) -> list[dict[str, Any]]:
    before, after = ({one.name: one for one in side.scores} if side is not None else {} for side in (base, new))
    kinds = {**before, **after}
    return [
        {"name": name, "unit": one.unit, "better": one.better} | _score("baseline", before.get(name)) | _score("current", after.get(name))
        for name, one in kinds.items()
    ]


def _score(side: str, figure: Figure | None) -> dict[str, float | None]:
    interval = figure.interval if figure is not None else None
    return {
        side: figure.value if figure is not None else None,
        f"{side}_low": interval.low if interval else None,
        f"{side}_high": interval.high if interval else None,
    }


def _figures(evidence: Evidence | None) -> dict[str, float | None]:
    if evidence is None:
        names = ("baseline", "current", "delta", "effect", "effect_low", "effect_high", "confidence", "p", "p_adjusted")
        return dict.fromkeys(names)
    interval, ends = evidence.interval, evidence.effect_ends
    return {
        "baseline": evidence.baseline,
        "current": evidence.current,
        "delta": evidence.current - evidence.baseline,
        "effect": evidence.effect,
        "effect_low": ends[0] if ends else None,
        "effect_high": ends[1] if ends else None,
        "confidence": interval.confidence if interval else None,
        "p": evidence.p,
        "p_adjusted": evidence.p_adjusted,
    }
