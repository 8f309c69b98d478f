"""Anything at all, told to the worker: `python -m tests.fuzz.plain` and `python -m tests.fuzz.engine` go on for longer.

Rule: what is wrong with a record becomes a refusal; whatever else happens is a bug.
"""
