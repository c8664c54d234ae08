"""Checks and displays addresses that may contain a login, such as `scheme://user:password@host…`."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

MEND = "in a user name or a password, write / as %2F, ? as %3F, # as %23, @ as %40 and whatever is no letter or digit likewise"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# These characters may not occur in an address before its path. Python's parser drops some of them silently and parses the rest.
_UNREADABLE = re.compile(r"[\s\x00-\x1f\x7f\"\\]")
_LOGIN_WITHOUT_SCHEME = re.compile(r".*[:\\].*@", re.DOTALL)


def require_readable(address: str) -> None:
    """Check that host and port can be read from an address.

    Raises:
        ValueError: they cannot be read. The message does not repeat the address, because the unreadable part is often a password.
    """
    try:
        if not _UNREADABLE.search(_authority(address)):
            _ = urlsplit(address).port
            return
    except ValueError:  # for unbalanced brackets or a port that is not a number; its message would repeat the address
        pass
    raise ValueError(f"cannot be read as an address; {MEND}")


def joined(parts: SplitResult) -> str:
    """Return the address that the parts make up.

    The standard library drops the `//` of an address without a host, such as `unix:///run/redis.sock`. This function keeps it.
    """
    text = urlunsplit(parts)
    return text if "://" in text else text.replace(":", "://", 1)


def with_login(address: str, login: str) -> str:
    """Return the address with its login replaced by `login` (`user:password`, percent-encoded). An empty `login` removes it."""
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")[2]
    return joined(parts._replace(netloc=f"{login}@{place}" if login else place))


def login_of(address: str) -> str:
    """Return the `user:password` part of an address as it is written, or an empty string."""
    return _authority(address).rpartition("@")[0]


def shown_address(address: str) -> str:
    """Return an address that is safe to display, with `***` instead of its login.

    The user name is hidden too, because some services take a token as user name. If the address cannot be read, `***` replaces
    everything after the scheme.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return _LOGIN_WITHOUT_SCHEME.sub("***@", address)
    try:
        require_readable(address)
    except ValueError:
        return f"{scheme}://***" if _SCHEME.fullmatch(scheme) else "***"
    login = login_of(address)
    return f"{scheme}://***{rest[len(login) :]}" if login else address


def _authority(address: str) -> str:
    """Return the part of an address between `://` and its path, query or fragment."""
    return re.split("[/?#]", address.partition("://")[2], maxsplit=1)[0]
