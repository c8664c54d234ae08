from __future__ import annotations

import os
from pathlib import Path

from shared.clock import SystemClock
from worker.models.cache import Cache

LARGE, GRAPH = 1000, 10


def blob(root: Path, name: str, size: int, used: float) -> Path:
    path = root / "blobs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode() * size)
    os.utime(path, (used, used))
    return path


def model(cache: Cache, root: Path, number: int) -> Path:
    """Make a model with external data that was used `number` seconds after 1970. The folder of the set is newer than its blobs."""
    blob(root, f"{number}g", GRAPH // 2, number)
    blob(root, f"{number}w", LARGE // 2, number)
    folder = cache.assemble("model.onnx", {"model.onnx": f"{number}g", "w.bin": f"{number}w"}).parent
    os.utime(folder, (number + 0.5, number + 0.5))
    return folder


def on_disk(root: Path) -> int:
    files = [path.stat() for path in root.rglob("*") if path.is_file()]
    return sum({stat.st_ino: stat.st_size for stat in files}.values())


def test_the_limit_is_kept_for_models_with_external_data(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    folders = [model(cache, tmp_path, number) for number in range(1, 6)]
    assert on_disk(tmp_path) == 5 * (LARGE + GRAPH)
    cache.trim(2 * (LARGE + GRAPH))
    assert on_disk(tmp_path) == 2 * (LARGE + GRAPH)
    assert [folder.exists() for folder in folders] == [False, False, False, True, True], "the oldest go first, whole"
    assert sorted(path.name for path in (tmp_path / "blobs").iterdir()) == ["4g", "4w", "5g", "5w"]


def test_weights_that_a_newer_model_shares_stay_with_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    old = model(cache, tmp_path, 1)
    blob(tmp_path, "5g", GRAPH // 2, 5)
    new = cache.assemble("model.onnx", {"model.onnx": "5g", "w.bin": "1w"}).parent
    os.utime(new, (5.5, 5.5))
    cache.trim(LARGE + GRAPH)
    assert (old.exists(), new.exists()) == (False, True)
    assert sorted(path.name for path in (tmp_path / "blobs").iterdir()) == ["1w", "5g"]
    assert on_disk(tmp_path) == LARGE + GRAPH


def test_the_blobs_of_a_set_in_use_stay_since_removing_them_frees_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    folder = model(cache, tmp_path, 1)
    other = blob(tmp_path, "9x", LARGE // 2, 9)
    with cache.in_use(folder / "model.onnx"):
        cache.trim(LARGE + GRAPH)
    assert (folder.exists(), other.exists()) == (True, False)
    assert sorted(path.name for path in (tmp_path / "blobs").iterdir()) == ["1g", "1w"]
