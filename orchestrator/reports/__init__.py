"""Turns recorded results into files: CSV, JSON, one page of Markdown and a picture."""
