"""The worker's login at the broker, which enrolling again may change under whoever uses it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from redis import CredentialProvider

from shared.tls import broker_trusting


class Login(CredentialProvider):
    """redis-py, and kombu through it, ask this for user and password at each new connection."""

    def __init__(self, broker_url: str, ca_file: Path | None) -> None:
        parts = urlsplit(broker_url)
        # Without the secret: whoever shows its settings shows an address.
        self.address = broker_trusting(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), ca_file)
        self.renew(broker_url)

    def renew(self, broker_url: str) -> None:
        """Use the user and password of this address from now on; those who are connected stay so."""
        parts = urlsplit(broker_url)
        user, password = unquote(parts.username or "default"), unquote(parts.password or "")
        self._credentials = (user, password)  # a Redis that asks for no password takes any for its default user

    def get_credentials(self) -> tuple[str, str]:
        return self._credentials
