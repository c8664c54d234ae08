"""Makes the reports of services under load: the requests one by one, the curve over the concurrency, and what the SLO allows."""
