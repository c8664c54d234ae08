"""Makes the passwords, tokens and keys of a locked system, in which every access needs a login, and checks whether one has leaked."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURES = (".png", ".npz")  # these files are not text, so any bytes may look like an address
OWN = "chaos"  # the login of the test itself, which makes the faults
PASSWORD = re.compile(rb"://[^/\s:@\"']*:(?!\*+@)[^/\s@\"']+@")  # the password in any address; in a masked address it is replaced by stars


class Locks:
    """Holds the secrets of one system."""

    def __init__(self) -> None:
        self.token = "fleetmark_" + secrets.token_urlsafe(32)  # the token of an administrator
        self._orchestrator, self._flower, self._own = (secrets.token_hex(16) for _ in range(3))

    def users_in(self, folder: Path) -> Path:
        """Return the ACL file of `fleetmark redis-acl`, with a login for the test. A restart forgets all logins that are made later."""
        passwords = {"FLEETMARK_ORCHESTRATOR_REDIS_PASSWORD": self._orchestrator, "FLEETMARK_FLOWER_REDIS_PASSWORD": self._flower}
        command = [sys.executable, "-m", "cli.main", "redis-acl"]
        made = subprocess.run(command, env={**os.environ, **passwords}, cwd=ROOT, capture_output=True, check=True, text=True)
        file = folder / "users.acl"
        file.write_text(f"{made.stdout}user {OWN} on >{self._own} ~* &* +@all\n")
        return file

    def broker(self, place: str) -> str:
        return f"redis://fleetmark-orchestrator:{self._orchestrator}@{place}/0"

    def own(self, place: str) -> str:
        return f"redis://{OWN}:{self._own}@{place}/0"

    def leaked(self, *folders: Path, more: tuple[str, ...]) -> Iterator[str]:
        """Return the files in these folders that contain a secret (ours or one of `more`), or an address with a password."""
        known = [secret.encode() for secret in (self.token, self._orchestrator, self._flower, *more)]
        for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if any(secret in content for secret in known) or (path.suffix not in PICTURES and PASSWORD.search(content)):
                yield f"{path} holds a secret"
