"""Addresses that may carry a login, `scheme://user:password@host…`: can one be read, and how is it shown?"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

MEND = "in a user name or a password, write / as %2F, ? as %3F, # as %23, @ as %40 and whatever is no letter or digit likewise"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# What no address may hold up to its path. Python's parser leaves some of these out, and reads what remains.
_UNREADABLE = re.compile(r"[\s\x00-\x1f\x7f\"\\]")
_LOGIN_WITHOUT_SCHEME = re.compile(r".*[:\\].*@", re.DOTALL)


def require_readable(address: str) -> None:
    """
    Raises:
        ValueError: host and port cannot be told from it. The message does not repeat it: what stands in the way is often a password.
    """
    try:
        if not _UNREADABLE.search(_authority(address)):
            _ = urlsplit(address).port
            return
    except ValueError:  # brackets that do not match, a port that is no number: its words repeat them
        pass
    raise ValueError(f"cannot be read as an address; {MEND}")


def joined(parts: SplitResult) -> str:
    """The address of its parts. The standard library drops the `//` where no host is named, as in `unix:///run/redis.sock`."""
    text = urlunsplit(parts)
    return text if "://" in text else text.replace(":", "://", 1)


def with_login(address: str, login: str) -> str:
    """The address with `login` (`user:password`, percent-encoded) in the place of its own; without one when it is empty."""
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")[2]
    return joined(parts._replace(netloc=f"{login}@{place}" if login else place))


def login_of(address: str) -> str:
    """`user:password` of an address, as written; empty where there is none."""
    return _authority(address).rpartition("@")[0]


def shown_address(address: str) -> str:
    """An address for people: `***` for its login, user name and all (many a token is one), or for everything that cannot be read."""
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
    """What stands between `://` and the path, the query or the fragment."""
    return re.split("[/?#]", address.partition("://")[2], maxsplit=1)[0]
