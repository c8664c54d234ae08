"""Makes the reports of every kind of work that sends its figures as an outcome: the ranking by the headline, the page, the picture."""
