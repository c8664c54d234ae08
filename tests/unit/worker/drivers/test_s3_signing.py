"""Tests the signatures of S3 against the example that Amazon publishes."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from worker.drivers.s3_signing import LONGEST_S, Signer

# From "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" in the reference of Amazon S3.
AMAZON = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
MOMENT = datetime(2013, 5, 24)  # noqa: DTZ001 - in UTC, as all of them


def test_the_published_example_has_its_signature() -> None:
    target = AMAZON.target("GET", "examplebucket.s3.amazonaws.com", "/test.txt", {}, MOMENT, valid_s=86_400)
    assert target == (
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_a_query_and_a_key_are_encoded_and_sorted() -> None:
    target = AMAZON.target("GET", "host", "/bucket/a b/ü+1", {"prefix": "a/b", "list-type": "2"}, MOMENT)
    parts = urlsplit(target)
    assert parts.path == "/bucket/a%20b/%C3%BC%2B1"
    names = [pair.partition("=")[0] for pair in parts.query.split("&")]
    assert names[:-1] == sorted(names[:-1])
    assert names[-1] == "X-Amz-Signature"
    assert parse_qs(parts.query)["prefix"] == ["a/b"]
    assert parse_qs(parts.query)["X-Amz-Expires"] == [str(LONGEST_S)]


def test_without_keys_nothing_is_signed() -> None:
    assert Signer("", "", "us-east-1").target("GET", "host", "/bucket", {"prefix": "a"}, MOMENT) == "/bucket?prefix=a"
