from __future__ import annotations

from shared.device_labels import device_labels


def test_a_device_is_called_by_its_name_alone_while_no_other_has_it() -> None:
    assert device_labels([("worker-aaaa1111", "lab"), ("worker-bbbb2222", "pi"), ("worker-aaaa1111", "lab")]) == {
        "worker-aaaa1111": "lab",
        "worker-bbbb2222": "pi",
    }


def test_two_devices_of_one_name_are_told_apart_by_the_beginning_of_their_ids() -> None:
    labels = device_labels([("worker-ab12zzzz", "lab"), ("worker-cd34zzzz", "lab"), ("worker-ef56zzzz", "pi")])
    assert labels == {"worker-ab12zzzz": "lab (worker-ab12)", "worker-cd34zzzz": "lab (worker-cd34)", "worker-ef56zzzz": "pi"}


def test_ids_that_begin_alike_are_shown_until_they_differ() -> None:
    labels = device_labels([("worker-ab12345", "lab"), ("worker-ab12377", "lab"), ("worker-ab12", "lab")])
    assert labels == {
        "worker-ab12345": "lab (worker-ab1234)",
        "worker-ab12377": "lab (worker-ab1237)",
        "worker-ab12": "lab (worker-ab12)",
    }
