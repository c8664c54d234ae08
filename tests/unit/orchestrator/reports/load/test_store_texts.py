"""Tests how reports, the CSV and summary.json show what a store did besides answering requests."""

from __future__ import annotations

from orchestrator.reports.load.points import Curves
from orchestrator.reports.load.store_texts import store_figures, store_table
from orchestrator.reports.sheets.load import LoadSheet
from tests.unit.orchestrator.reports.bundles import ended_job, record, result_of
from tests.unit.orchestrator.reports.load.test_token_texts import outcome, workload

RATES = {"requests_per_s": 500.0, "success_rate": 100.0, "error_count": 0.0, "bytes_per_s": 1e6}
VECTORS = {**RATES, "insert_vps": 2_000.0, "query_qps": 500.0, "recall_at_k": 0.97}
OBJECTS = {**RATES, "put_ops_per_second": 20.0, "put_bytes_per_second": 2e7}


def test_the_csv_and_the_summary_have_the_recall() -> None:
    result = result_of(summary=None, outcome=outcome(VECTORS, ("index_wait_s",)))
    row = LoadSheet("load").cells(ended_job(), result)
    assert (row["RecallAtK"], row["BytesPerS"]) == (0.97, 1e6)
    entry = LoadSheet("load").summary_entry(record(result=result, workload=workload("chroma")))
    assert (entry["insert_vps"], entry["recall_at_k"], entry["index_wait_s"]) == (2_000.0, 0.97, None)


def test_the_table_has_the_columns_that_a_point_has_and_a_dash_where_another_has_none() -> None:
    curve = {
        "level": "requests in flight",
        "points": [{"job_id": "a", "level": 1.0}, {"job_id": "b", "level": 4.0}],
        "stores": {"a": store_figures(outcome(VECTORS, ("index_wait_s",))), "b": store_figures(outcome({**RATES, "insert_vps": 10.0}, ()))},
    }
    head, _, first, second = store_table(curve).splitlines()
    assert head == "| requests in flight | vectors/s inserted | recall |"
    assert (first, second) == ("| 1 | 2000 | 0.97 |", "| 4 | 10 | – |")


def test_a_service_that_is_no_store_has_no_such_figures() -> None:
    assert store_figures(outcome(RATES, ("put_ops_per_second",))) == {}


def test_the_points_of_an_object_store_carry_its_figures() -> None:
    curves = Curves()
    job = record(result=result_of(summary=None, outcome=outcome(OBJECTS, ("get_ops_per_second",))), workload=workload("minio"))
    curves.add(job, "vm", "")
    (curve,) = curves.all()
    assert curve.stores == {job.job_id: {"put_ops_per_second": 20.0, "put_bytes_per_second": 2e7}}
