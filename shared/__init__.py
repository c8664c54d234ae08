"""Words that the orchestrator, the worker and the command line all speak. No I/O here but `celery_app`."""
