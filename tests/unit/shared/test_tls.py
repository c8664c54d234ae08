from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace

import certifi
import pytest

from shared.errors import InvalidInput
from shared.tls import broker_trusting, refusal, trust, verification, without_files
from tests.tls import Authority

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
def test_an_encrypted_broker_is_trusted_by_the_configured_authority(url: str, trusting: str) -> None:
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


def _system_with(monkeypatch: pytest.MonkeyPatch, authority: Authority | None) -> None:
    """Make the system's store contain only this authority, or nothing."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)

    def load(context: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        if authority is not None:
            context.load_verify_locations(authority.ca_file)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(capath=None))


def _number_of(context: ssl.SSLContext | bool) -> int:
    assert isinstance(context, ssl.SSLContext)
    return len(context.get_ca_certs())


def test_the_systems_authorities_are_trusted_with_and_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company, own = Authority(tmp_path / "company"), Authority(tmp_path / "own")
    _system_with(monkeypatch, company)
    assert _number_of(verification(None)) == 1
    assert _number_of(verification(own.ca_file)) == 2


def test_a_system_without_authorities_gets_those_of_certifi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _system_with(monkeypatch, None)
    usual = len(ssl.create_default_context(cafile=certifi.where()).get_ca_certs())
    assert _number_of(verification(None)) == usual
    assert _number_of(verification(Authority(tmp_path / "own").ca_file)) == usual + 1
    (tmp_path / "5ed36f99.0").write_bytes(b"")  # OpenSSL finds an authority in a folder by its hash when it is needed
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(capath=str(tmp_path)))
    assert _number_of(verification(None)) == 0


def test_the_reason_of_a_refusal_is_found_behind_what_a_client_made_of_it() -> None:
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"
    seen = ConnectionError("cannot connect")
    seen.__cause__ = OSError("what the client's own library made of it")
    seen.__cause__.__context__ = refused
    assert refusal(seen) == "self-signed certificate"
    assert refusal(ConnectionError("away")) is None
