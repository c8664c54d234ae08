"""Checks the folder that a recipe names for the data of a server."""

from __future__ import annotations

from pathlib import Path

from shared.errors import ModelInvalid


def checked(data_dir: str) -> Path | None:
    """Return the folder of a recipe's `data_dir`, or None if the recipe names none.

    Raises:
        ModelInvalid: It is no absolute path, a file, or not empty.
    """
    if not data_dir:
        return None
    folder = Path(data_dir)
    if not folder.is_absolute():
        raise ModelInvalid(f"service.settings.data_dir: {data_dir!r} is no absolute path on this device; write one, or leave it out")
    if folder.exists() and not folder.is_dir():
        raise ModelInvalid(f"service.settings.data_dir: {folder} is a file; name a folder that is empty or does not exist")
    if folder.exists() and any(folder.iterdir()):
        raise ModelInvalid(
            f"service.settings.data_dir: {folder} is not empty, and a folder with data in it is never touched; "
            "name a folder that is empty or does not exist, or leave it out"
        )
    return folder
