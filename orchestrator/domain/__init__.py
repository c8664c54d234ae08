"""Pure decisions: what jobs a recipe means, where a job goes, which step may follow, who is silent. No I/O."""
