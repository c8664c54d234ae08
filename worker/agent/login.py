"""Holds the worker's login at the broker, and the key that signs its reports. Both may change while other threads use them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from redis import CredentialProvider

from shared.addresses import with_login
from shared.tls import broker_trusting


class Login(CredentialProvider):
    """Gives user and password to redis-py, and through it to kombu, for each new connection."""

    report_key: str | None  # the key that signs reports; None if the orchestrator gives out no logins

    def __init__(self, broker_url: str, ca_file: Path | None, report_key: str | None = None) -> None:
        # The address has no secret, because libraries show it when they show their settings.
        self.address = broker_trusting(with_login(broker_url, ""), ca_file)
        self.renew(broker_url, report_key)

    def renew(self, broker_url: str, report_key: str | None = None) -> None:
        """Use the login of this address and this key from now on. Existing connections stay open."""
        self.report_key = report_key
        parts = urlsplit(broker_url)
        user, password = unquote(parts.username or "default"), unquote(parts.password or "")
        self._credentials = (user, password)  # a Redis without a password accepts any password for its default user

    def get_credentials(self) -> tuple[str, str]:
        return self._credentials
