"""Holds the worker's login at the broker, and the key that signs its reports. Both may change while others use them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from redis import CredentialProvider

from shared.addresses import with_login
from shared.tls import broker_trusting


class Login(CredentialProvider):
    """redis-py, and kombu through it, ask this for user and password at each new connection."""

    report_key: str | None  # what reports are signed with; None where the orchestrator gives out no logins

    def __init__(self, broker_url: str, ca_file: Path | None, report_key: str | None = None) -> None:
        # Without the secret: whoever shows its settings shows an address.
        self.address = broker_trusting(with_login(broker_url, ""), ca_file)
        self.renew(broker_url, report_key)

    def renew(self, broker_url: str, report_key: str | None = None) -> None:
        """Use the user and password of this address, and this key, from now on; those who are connected stay so."""
        self.report_key = report_key
        parts = urlsplit(broker_url)
        user, password = unquote(parts.username or "default"), unquote(parts.password or "")
        self._credentials = (user, password)  # a Redis that asks for no password takes any for its default user

    def get_credentials(self) -> tuple[str, str]:
        return self._credentials
