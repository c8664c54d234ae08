"""Contains what the reports of language models have besides figures: the answers to a task, and how they were judged."""
