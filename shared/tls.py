"""Decides which certificate authorities a TLS client trusts: those of the system, and those in FLEETMARK_CA_FILE.

The system's store contains the authorities that a company has added to its machines. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace it, as for
every program that uses OpenSSL. If the system has no store, the authorities of the package certifi are trusted in its place.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from shared.addresses import joined
from shared.errors import InvalidInput, Unavailable

_BY_HASH = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # OpenSSL finds an authority in a folder only by a file name of this form
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


def verification(ca_file: Path | None) -> ssl.SSLContext:
    """Make the argument `verify` of an HTTP client. This takes about 20 ms.

    Raises:
        InvalidInput: `ca_file`, or the file that SSL_CERT_FILE names, cannot be read, or contains no certificate.
    """
    context = ssl.create_default_context()
    named = os.environ.get("SSL_CERT_FILE")  # noqa: TID251 - not one of our settings: OpenSSL reads it, and ignores a wrong value
    if named:
        try:
            context.load_verify_locations(named)
        except OSError as error:
            raise InvalidInput(f"SSL_CERT_FILE={named} holds no certificate in PEM form: {error}; correct it, or unset it") from error
    if not _knows_any(context):
        import certifi  # imported here because most systems have a store

        context.load_verify_locations(certifi.where())
    return context if ca_file is None else trust(context, ca_file)


def _knows_any(context: ssl.SSLContext) -> bool:
    """Return whether a context with the system's authorities has any. OpenSSL reads a folder of authorities only when it needs one."""
    if context.cert_store_stats()["x509"]:
        return True
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and any(_BY_HASH.fullmatch(file.name) for file in Path(folder).iterdir())


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
