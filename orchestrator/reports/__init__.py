"""From recorded results to files: CSV, JSON, one page of Markdown, a picture. Data in, bytes and files out."""
