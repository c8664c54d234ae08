"""Defines what orchestrator and worker exchange through Redis: messages, keys, and the Lua scripts that use these keys."""
