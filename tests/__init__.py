"""Contains the tests.

They call servers over plain HTTP with `verify=False`: otherwise httpx would read all certificates of the system for each client, which
takes 26 ms of CPU, and many tests ask again and again.
"""
