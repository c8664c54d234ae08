"""Signs the addresses of requests to an S3 server: Signature Version 4 in the query, with a payload that is not signed.

The rules are those of "Authenticating Requests: Using Query Parameters" in the reference of Amazon S3. A request that is signed this way
needs no further header, so its bytes can be made long before it is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
LONGEST_S = 7 * 86_400  # S3 accepts no signature that is valid for longer


class Signer:
    """Signs with one pair of keys for one region. Without an access key, nothing is signed: the server must let everybody in."""

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self.access_key, self.region = access_key, region
        self._secret = secret_key
        self._keys: dict[str, bytes] = {}  # the signing key of each day

    def target(
        self, method: str, host: str, path: str, query: Mapping[str, str], at: datetime, *, valid_s: int = LONGEST_S, service: str = "s3"
    ) -> str:
        """Return what follows the method in the first line of a request: the path with its signed query.

        Args:
            host: The value of the header `Host`, with the port if it is in there.
            path: Not encoded, such as `/bucket/key`.
            at: When the signature begins to be valid, in UTC.
            valid_s: For how long it is valid.
        """
        encoded = quote(path, safe="/-_.~")
        if not self.access_key:
            return f"{encoded}?{_query(query)}" if query else encoded
        moment, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
        scope = f"{day}/{self.region}/{service}/aws4_request"
        whole = _query(
            {
                **query,
                "X-Amz-Algorithm": ALGORITHM,
                "X-Amz-Credential": f"{self.access_key}/{scope}",
                "X-Amz-Date": moment,
                "X-Amz-Expires": str(valid_s),
                "X-Amz-SignedHeaders": "host",
            }
        )
        asked = f"{method}\n{encoded}\n{whole}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signature = hmac.digest(self._key(day, service), text.encode(), "sha256").hex()
        return f"{encoded}?{whole}&X-Amz-Signature={signature}"

    def _key(self, day: str, service: str) -> bytes:
        if (known := self._keys.get(day + service)) is None:
            known = f"AWS4{self._secret}".encode()
            for part in (day, self.region, service, "aws4_request"):
                known = hmac.digest(known, part.encode(), "sha256")
            self._keys[day + service] = known
        return known


def _query(parameters: Mapping[str, str]) -> str:
    """Return a query in the canonical form: encoded, and sorted by the encoded names."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items())
    return "&".join(f"{name}={value}" for name, value in pairs)
