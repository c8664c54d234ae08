from __future__ import annotations

from orchestrator.api.hosts import network_of, resolves_to_loopback


def test_loopback_is_judged_by_what_a_name_resolves_to() -> None:
    assert resolves_to_loopback("localhost")
    assert resolves_to_loopback("::1")
    assert not resolves_to_loopback("0.0.0.0")
    assert not resolves_to_loopback("::")


def test_an_address_of_ipv6_stands_for_its_network() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::7") == "2001:db8:1:2::"
    assert network_of("2001:db8:1:3::7") != "2001:db8:1:2::"
    assert network_of("::ffff:192.0.2.7") == network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("") == ""
