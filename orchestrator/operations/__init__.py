"""Holds the operations of the orchestrator, such as submit, dispatch, record, cancel, finish and reset."""
