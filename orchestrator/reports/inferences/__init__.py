"""Makes the reports of inferences: which jobs did the same work, which of them is the best, the page and its pictures."""
