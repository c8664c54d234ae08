"""What goes over the wire between orchestrator and worker: messages, Redis keys and the Lua scripts that touch them."""
