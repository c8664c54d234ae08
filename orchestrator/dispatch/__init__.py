"""Puts jobs into the queues that workers take from. Holds the port, the real queue for Celery, and one in memory."""
