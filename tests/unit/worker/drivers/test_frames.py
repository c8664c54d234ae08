"""Tests that a streamed body is cut into its frames, wherever the network has cut it."""

from __future__ import annotations

import pytest

from worker.drivers.frames import BLANK_LINE, LINE_END, Frame, event_of, frames_of


def frames(*pieces: tuple[int, bytes]) -> list[Frame]:
    arrived = [number for at, data in pieces for number in (at, len(data))]
    return list(frames_of(b"".join(data for _, data in pieces), arrived, BLANK_LINE))


def test_several_events_of_one_read_have_its_stamp() -> None:
    assert frames((7, b"data: a\n\ndata: b\n\n")) == [Frame(b"data: a", 7), Frame(b"data: b", 7)]


def test_an_event_in_two_halves_has_the_stamp_of_the_second() -> None:
    assert frames((7, b"data: a\n\nda"), (8, b"ta: b"), (9, b"\n\n")) == [Frame(b"data: a", 7), Frame(b"data: b", 9)]


def test_an_event_that_ends_exactly_with_a_read_has_the_stamp_of_that_read() -> None:
    assert frames((7, b"data: a\n\n"), (8, b"data: b\n\n")) == [Frame(b"data: a", 7), Frame(b"data: b", 8)]


def test_what_is_left_at_the_end_is_half_an_event() -> None:
    assert frames((7, b"data: a\n\n"), (8, b"data: {")) == [Frame(b"data: a", 7), Frame(b"data: {", 8, whole=False)]


def test_white_space_at_the_end_is_no_event() -> None:
    assert frames((7, b"data: a\n\n\n")) == [Frame(b"data: a", 7)]
    assert frames() == []


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_lines_may_end_as_the_standard_allows(end: bytes) -> None:
    assert [frame.data for frame in frames((1, b"data: a" + end + b"data: b" + end))] == [b"data: a", b"data: b"]


def test_a_line_that_ends_with_two_bytes_does_not_end_an_event() -> None:
    assert [frame.data for frame in frames((1, b"event: x\r\ndata: a\r\n\r\n"))] == [b"event: x\r\ndata: a"]


def test_lines_of_json_are_frames_too() -> None:
    found = list(frames_of(b'{"a":1}\n{"b"', [3, 5, 4, 7], LINE_END))
    assert found == [Frame(b'{"a":1}', 4), Frame(b'{"b"', 4, whole=False)]


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b"data: x", ("", b"x")),
        (b"data:x", ("", b"x")),
        (b"data:  x", ("", b" x")),
        (b"event: error\ndata: x", ("error", b"x")),
        (b"data: a\ndata: b", ("", b"a\nb")),
        (b": ping", ("", b"")),
        (b"id: 7\r\ndata: x", ("", b"x")),
    ],
)
def test_the_fields_of_an_event_are_read_as_the_standard_says(frame: bytes, event: tuple[str, bytes]) -> None:
    assert event_of(frame) == event
