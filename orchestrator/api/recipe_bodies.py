"""Reads bodies that are recipes. It limits their size and the threads that read them.

Reading a recipe can take seconds of CPU time, and every viewer may have recipes checked. So a few separate threads do it. However many
recipes are sent at once, the threads for all other calls stay free. Submitting uses other threads than checking, so that viewers do not
delay submitters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio import CapacityLimiter

from orchestrator.api.bodies import read_json, refuse_unstorable
from shared.errors import BadRequest, TooLarge
from shared.recipes import Recipe, load_recipe, parse_recipe
from shared.recipes.parse import MAX_RECIPE_BYTES

MAX_YAML_BYTES = 2**20  # JSON may be larger (`MAX_RECIPE_BYTES`), as it is read fifty times as fast
THREADS = 2  # two, so that one large recipe does not delay every small one
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "application/vnd.yaml"})


@dataclass
class RecipeThreads:
    checking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    submitting: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))


def is_yaml(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in YAML_TYPES


def yaml_recipe(body: bytes) -> Recipe:
    """Return a recipe from YAML bytes.

    Raises:
        BadRequest: the bytes are not UTF-8.
        InvalidInput: they are not a valid recipe.
        TooLarge: they are more than `MAX_YAML_BYTES`.
    """
    if len(body) > MAX_YAML_BYTES:
        raise TooLarge(f"the recipe is {len(body)} bytes of YAML; at most {MAX_YAML_BYTES} are read; as JSON it may be larger")
    try:
        recipe = load_recipe(body.decode())
    except UnicodeDecodeError as error:
        raise BadRequest(f"the recipe is not UTF-8 text: {error}") from error
    refuse_unstorable(recipe.model_dump_json().encode())
    return recipe


def json_recipe(body: bytes) -> Recipe:
    """Return a recipe from JSON bytes.

    Raises:
        BadRequest: the bytes are not JSON.
        InvalidInput: they are not a valid recipe.
        TooLarge: they are more than `MAX_RECIPE_BYTES`.
    """
    if len(body) > MAX_RECIPE_BYTES:
        raise TooLarge(f"the recipe is {len(body)} bytes; at most {MAX_RECIPE_BYTES} are read")
    return parse_recipe(read_json(body))
