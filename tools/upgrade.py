"""Brings this clone, and the database of `make up`, to the newest version.

    python3.13 tools/upgrade.py

It stops at the first step that fails, and says so. The steps:

1. Nothing of this clone may be running: the processes would go on with the old code and find a new database.
2. `git pull --ff-only`. Local commits or changed files that are in the way stop it.
3. The environment is made from the new locked packages.
4. The SQLite database is copied to `.fleetmark/backups/`. A PostgreSQL database is yours to back up: say so with `--backed-up`.
5. The database is migrated.

This script uses only the standard library, because the environment may not be there yet. Docs: docs/operating.md.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[[Sequence[str | Path]], None]


def run(command: Sequence[str | Path]) -> None:
    """Run a command in this clone.

    Raises:
        SystemExit: it failed. Its own output says why.
    """
    print("+", *command, flush=True)
    if (code := subprocess.run(command, check=False, cwd=ROOT).returncode) != 0:
        sys.exit(f"`{' '.join(map(str, command))}` ended with {code}; nothing after it was done. See above, then run `make upgrade` again.")


def require_stopped(data_dir: Path) -> None:
    """Check that no `fleetmark up` uses this folder.

    Raises:
        SystemExit: one does.
    """
    try:
        import fcntl
    except ImportError:  # on Windows nothing of the control plane runs
        return
    lock = data_dir / "lock"
    if not lock.exists():
        return
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"`fleetmark up` is running in {data_dir}: stop it with Ctrl-C, then run `make upgrade` again. Jobs go on afterwards.")


def sqlite_file(url: str, data_dir: Path) -> Path | None:
    """Return the file of the SQLite database. Return None for a PostgreSQL database."""
    if not url:
        return data_dir / "fleetmark.db"
    return Path(unquote(url.removeprefix("sqlite:///").partition("?")[0])) if url.startswith("sqlite:///") else None


def back_up(file: Path, folder: Path, now: datetime) -> Path:
    """Copy a SQLite database while it may be in use, and return the copy. The copy is checked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"{file.stem}-{now:%Y%m%d-%H%M%S}.db"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        [(said,)] = copy.execute("PRAGMA integrity_check").fetchall()[:1]
    if said != "ok":
        sys.exit(f"the copy {target} of the database is damaged ({said}); nothing was migrated")
    return target


def upgrade(data_dir: Path, database_url: str, venv: Path, *, backed_up: bool, run: Run = run) -> None:
    """Do all steps.

    Raises:
        SystemExit: a step failed.
    """
    require_stopped(data_dir)
    database = sqlite_file(database_url, data_dir)
    if database is None and not backed_up:
        sys.exit(
            "FLEETMARK_DATABASE_URL names a PostgreSQL database. Back it up first (pg_dump --format=custom, see docs/operating.md), "
            "then: make upgrade BACKED_UP=1"
        )
    run(["git", "pull", "--ff-only"])
    run([sys.executable, "tools/environment.py", "demo", "--venv", venv])
    if database is not None and database.exists():
        copy = back_up(database, data_dir / "backups", datetime.now(UTC))
        print(f"The database is copied to {copy}")
    address = database_url or f"sqlite:///{database}"
    run(["env", f"FLEETMARK_DATABASE_URL={address}", venv / "bin" / "python", "-P", "-m", "orchestrator.cli", "migrate"])
    print("Done. Start it again with `make up`, and upgrade the workers: docs/operating.md")


def main() -> None:
    parser = argparse.ArgumentParser(description="Bring this clone and its database to the newest version.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--backed-up", action="store_true", help="the PostgreSQL database of FLEETMARK_DATABASE_URL is backed up")
    arguments = parser.parse_args()
    environment = os.environ  # noqa: TID251 (the settings classes are not installed yet)
    data_dir = Path(environment.get("FLEETMARK_DATA_DIR") or ROOT / ".fleetmark")
    upgrade(data_dir, environment.get("FLEETMARK_DATABASE_URL") or "", arguments.venv.absolute(), backed_up=arguments.backed_up)


if __name__ == "__main__":
    main()
