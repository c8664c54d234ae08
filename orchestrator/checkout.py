"""Finds the commit of Fleetmark that this orchestrator was started from."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def own_commit() -> str:
    """Return the commit of the checkout that holds this code, or `""` for an installed package."""
    return commit_of(Path(__file__).resolve().parent.parent)


def commit_of(folder: Path) -> str:
    """Return the commit that is checked out in a folder, read from git's files, or `""` if there is none."""
    try:
        git = _git_folder(folder / ".git")
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head if _COMMIT.fullmatch(head) else ""
        return _commit_of_branch(git, head.removeprefix("ref: "))
    except (OSError, UnicodeDecodeError):
        return ""


def _git_folder(found: Path) -> Path:
    """Return the folder with git's files. In an additional worktree of a repository, `.git` is a file that names this folder."""
    if found.is_dir():
        return found
    return (found.parent / found.read_text().removeprefix("gitdir:").strip()).resolve()


def _commit_of_branch(git: Path, branch: str) -> str:
    shared = git / "commondir"  # in an additional worktree, this file names the folder with the branches of all worktrees
    common = (git / shared.read_text().strip()).resolve() if shared.exists() else git
    loose = common / branch
    if loose.exists():
        commit = loose.read_text().strip()
    else:
        lines = (common / "packed-refs").read_text().splitlines()
        commit = next((line.split()[0] for line in lines if line.endswith(f" {branch}")), "")
    return commit if _COMMIT.fullmatch(commit) else ""
