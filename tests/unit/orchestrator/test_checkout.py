from __future__ import annotations

import subprocess
from pathlib import Path

from orchestrator.checkout import commit_of


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_the_one_that_git_itself_names(tmp_path: Path) -> None:
    folder, further = tmp_path / "clone", tmp_path / "further"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    commit = git(folder, "rev-parse", "HEAD")
    assert commit_of(folder) == commit
    git(folder, "worktree", "add", "-q", "-b", "topic", str(further))
    git(further, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit_of(further) == git(further, "rev-parse", "HEAD") != commit
    git(folder, "pack-refs", "--all")
    assert commit_of(folder) == commit
    git(folder, "checkout", "-q", "--detach")
    assert commit_of(folder) == commit


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    assert commit_of(tmp_path) == ""
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff\xfe nonsense")
    assert commit_of(tmp_path) == ""
