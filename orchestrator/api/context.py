"""Gives each call the context of its process."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from orchestrator.operations.context import Context


def _context(request: Request) -> Context:
    ctx: Context = request.app.state.context
    return ctx


Ctx = Annotated[Context, Depends(_context)]
