"""A recipe: what to measure, as YAML or as JSON of the same shape."""

from shared.recipes.parse import load_recipe, parse_recipe
from shared.recipes.schema import ModelEntry, Recipe, Requirements, Retries

__all__ = ["ModelEntry", "Recipe", "Requirements", "Retries", "load_recipe", "parse_recipe"]
