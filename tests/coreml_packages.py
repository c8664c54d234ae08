"""Writes a folder with the layout of an `.mlpackage`, as coremltools saves it. `make test-coreml` uses real ones."""

from __future__ import annotations

import json
from pathlib import Path

FILES = {"Data/com.apple.CoreML/model.mlmodel": b"the network", "Data/com.apple.CoreML/weights/weight.bin": b"the weights"}


def package(folder: Path, files: dict[str, bytes] | None = None, paths: tuple[str, ...] | None = None) -> Path:
    """Write a package. `paths` are the items that its manifest names: a file and a folder."""
    for name, content in (FILES if files is None else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    named = ("com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights") if paths is None else paths
    entries = {f"id-{number}": {"author": "com.apple.CoreML", "path": path} for number, path in enumerate(named)}
    folder.mkdir(exist_ok=True)
    (folder / "Manifest.json").write_text(
        json.dumps({"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": "id-0"})
    )
    return folder
