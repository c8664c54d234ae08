"""Puts jobs into the queues that workers take from: a port, the real queue on Celery, and one in memory."""
