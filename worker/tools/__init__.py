"""Runs trusted tools of other people, such as pgbench, in place of our own clients. There is one file for each tool."""
