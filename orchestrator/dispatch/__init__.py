"""The way out: jobs to the queues that workers consume. A port, the real queue on Celery, and one in memory."""
