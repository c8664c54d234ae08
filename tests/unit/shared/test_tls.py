from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from shared.errors import InvalidInput
from shared.tls import broker_trusting, refusal, trust, verification, without_files

CA = Path("/etc/lab/ca.pem")


@pytest.mark.parametrize(
    ("url", "trusting"),
    [
        ("rediss://:pw@lab:6380/0", "rediss://:pw@lab:6380/0?ssl_ca_certs=/etc/lab/ca.pem"),
        ("rediss://lab/1?ssl_check_hostname=false", "rediss://lab/1?ssl_check_hostname=false&ssl_ca_certs=/etc/lab/ca.pem"),
        ("rediss://lab/0?ssl_ca_certs=/own.pem", "rediss://lab/0?ssl_ca_certs=/own.pem"),
        ("redis://lab:6379/0", "redis://lab:6379/0"),
    ],
)
def test_an_encrypted_broker_is_believed_by_the_file_that_is_configured(url: str, trusting: str) -> None:
    assert broker_trusting(url, CA) == trusting
    assert broker_trusting(url, None) == url


def test_an_address_for_another_machine_names_no_file_of_this_one() -> None:
    url = "rediss://u:p@lab:6380/2?ssl_ca_certs=/etc/lab/ca.pem&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=false&socket_timeout=3"
    assert without_files(url) == "rediss://u:p@lab:6380/2?ssl_check_hostname=false&socket_timeout=3"


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_certificates_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidInput, match=r"FLEETMARK_CA_FILE=.*ca\.pem"):
        trust(ssl.create_default_context(), file)


def test_without_a_file_the_library_decides() -> None:
    assert verification(None) is True


def test_the_reason_of_a_refusal_is_found_behind_what_a_client_made_of_it() -> None:
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"
    seen = ConnectionError("cannot connect")
    seen.__cause__ = OSError("what the client's own library made of it")
    seen.__cause__.__context__ = refused
    assert refusal(seen) == "self-signed certificate"
    assert refusal(ConnectionError("away")) is None
