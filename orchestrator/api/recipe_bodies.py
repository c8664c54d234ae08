"""Bodies that are recipes: how much of one is read, and by which threads.

Reading one takes seconds at most, but of a processor, and whoever may read anything may have recipes checked. So that is done by a few
threads of its own: however many are sent at once, those that answer every other call stay free. Submitting has others than checking, so
that no viewer keeps a submitter waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio import CapacityLimiter

from orchestrator.api.bodies import read_json, refuse_unstorable
from shared.errors import BadRequest, TooLarge
from shared.recipes import Recipe, load_recipe, parse_recipe
from shared.recipes.parse import MAX_RECIPE_BYTES

MAX_YAML_BYTES = 2**20  # of JSON, which is read fifty times as fast, more is taken
THREADS = 2  # one more than needed, so that one large recipe does not hold up every small one
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "application/vnd.yaml"})


@dataclass
class RecipeThreads:
    checking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    submitting: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))


def is_yaml(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in YAML_TYPES


def yaml_recipe(body: bytes) -> Recipe:
    """A recipe from YAML bytes.

    Raises:
        BadRequest: they are not UTF-8.
        InvalidInput: they are no recipe.
        TooLarge: they are more than a recipe needs.
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
    """A recipe from JSON bytes.

    Raises:
        BadRequest: they are not JSON.
        InvalidInput: they are no recipe.
        TooLarge: they are more than a recipe needs.
    """
    if len(body) > MAX_RECIPE_BYTES:
        raise TooLarge(f"the recipe is {len(body)} bytes; at most {MAX_RECIPE_BYTES} are read")
    return parse_recipe(read_json(body))
