"""Reads the prompts for a language model over HTTP from a file beside the recipe, so that the stored recipe holds them whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.errors import FieldError, InvalidInput

KEY, FIELD, LIST = "prompts_file", "prompts_field", "prompts"
PLACE = f"client.settings.{KEY}"
MAX_PROMPTS = 1_000  # items of a list in a recipe
MAX_BYTES = 4 * 2**20


def with_prompts(body: dict[str, Any], recipe_folder: Path) -> dict[str, Any]:
    """Return the body of a recipe in which `prompts_file` is replaced by the prompts in that file.

    The file has one JSON value in each line (`.jsonl`): a text, or an object whose key `prompts_field` holds the text.

    Raises:
        InvalidInput: the file cannot be read, or holds something else. The message names the line.
    """
    client = body.get("client")
    settings = client.get("settings") if isinstance(client, dict) else None
    if not isinstance(settings, dict) or not settings.get(KEY):
        return body
    left = {name: value for name, value in settings.items() if name not in (KEY, FIELD)}
    left[LIST] = read_prompts(recipe_folder / Path(str(settings[KEY])).expanduser(), str(settings.get(FIELD) or "prompt"))
    return {**body, "client": {**body["client"], "settings": left}}


def read_prompts(path: Path, field: str) -> list[str]:
    """Return the prompts in a file; see `with_prompts`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _refused(f"{path} is larger than {MAX_BYTES // 2**20} MB; keep fewer or shorter prompts")
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a JSON text may hold other characters that end a line, such as U+2028
    except OSError as error:
        raise _refused(f"{path} cannot be read: {error.strerror or error}; a path counts from the folder of the recipe") from error
    except UnicodeDecodeError as error:
        raise _refused(f"{path} is not text (UTF-8)") from error
    prompts = [_prompt(line, f"{path}, line {number}", field) for number, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise _refused(f"{path} holds no prompts")
    if len(prompts) > MAX_PROMPTS:
        raise _refused(f"{path} holds {len(prompts)} prompts; at most {MAX_PROMPTS} are accepted")
    return prompts


def _prompt(line: str, where: str, field: str) -> str:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise _refused(f"{where} is no JSON: {line:.60}") from error
    prompt = content.get(field) if isinstance(content, dict) else content
    if not isinstance(prompt, str) or not prompt:
        keys = f"; the object has the keys {', '.join(map(str, content))[:200]}" if isinstance(content, dict) else ""
        raise _refused(f"{where} has no text as `{field}`{keys}. Write `prompts_field` for another key")
    return prompt


def _refused(message: str) -> InvalidInput:
    return InvalidInput(f"{PLACE}: {message}", fields=[FieldError(PLACE, message)])
