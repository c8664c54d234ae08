"""Reads recipes. A recipe says what to measure, in YAML or in JSON of the same structure."""

from shared.recipes.parse import load_recipe, parse_recipe
from shared.recipes.schema import ModelEntry, Recipe, Requirements, Retries

__all__ = ["ModelEntry", "Recipe", "Requirements", "Retries", "load_recipe", "parse_recipe"]
