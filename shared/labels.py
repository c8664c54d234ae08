"""Defines the labels that people give to campaigns and workers: short names with short values."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MOST_LABELS = 64
LONGEST_NAME = 200
LONGEST_VALUE = 500  # characters; a list of 100 campaigns shows all of their labels

LabelName = Annotated[str, Field(max_length=LONGEST_NAME)]
LabelValue = Annotated[str, Field(max_length=LONGEST_VALUE)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=MOST_LABELS)]
