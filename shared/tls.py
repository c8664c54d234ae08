"""Decides which certificate authorities a TLS client trusts: the usual ones, and those in FLEETMARK_CA_FILE."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from shared.addresses import joined
from shared.errors import InvalidInput, Unavailable

MEND = "give the certificate of the authority that signed it as FLEETMARK_CA_FILE"


class Untrusted(Unavailable):
    """Is raised when no trusted authority has signed the server's certificate."""


def trust(context: ssl.SSLContext, ca_file: Path) -> ssl.SSLContext:
    """Make a context also trust the authorities in a PEM file. Return the context.

    Raises:
        InvalidInput: the file cannot be read, or contains no certificate.
    """
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"FLEETMARK_CA_FILE={ca_file} holds no certificate in PEM form: {error}") from error
    return context


def verification(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return the argument `verify` of an HTTP client.

    Raises:
        InvalidInput: `ca_file` cannot be read, or contains no certificate.
    """
    return True if ca_file is None else trust(ssl.create_default_context(), ca_file)


def broker_trusting(url: str, ca_file: Path | None) -> str:
    """Return a broker's address that names the CA file in the way redis-py and kombu read it.

    The address is returned unchanged if it does not use TLS, or names a CA file already.
    """
    parts = urlsplit(url)
    if ca_file is None or parts.scheme != "rediss" or "ssl_ca_certs" in dict(parse_qsl(parts.query)):
        return url
    return joined(parts._replace(query="&".join(filter(None, [parts.query, f"ssl_ca_certs={quote(str(ca_file.absolute()))}"]))))


def without_files(url: str) -> str:
    """Return a broker's address for another machine, without the paths of this machine's certificates and keys."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_") or name == "ssl_check_hostname"]
    return joined(parts._replace(query=urlencode(kept)))


def refusal(error: BaseException) -> str | None:
    """Return why a certificate was not trusted. Return None if this is not the cause of the error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_message
        seen = seen.__cause__ or seen.__context__
    return None
