"""Tests which addresses count as public and which as private."""

from __future__ import annotations

import pytest

from worker.models.addresses import is_public, resolve


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "100.127.255.255", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "::7f00:1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::a00:1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2001::1", "3fff::1", "3fff:fff:ffff::1", "192.88.99.1", "2002:c058:6301::1"),
    ],
)
def test_an_address_of_somebodys_own_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.88.98.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
def test_an_address_is_known_however_it_is_written(host: str) -> None:
    assert resolve(host, 80) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["x" * 64, "a..b", "x" * 300])
def test_what_is_no_name_is_an_error_of_the_network(host: str) -> None:
    with pytest.raises(OSError, match="is no name of a host"):
        resolve(host, 80)
