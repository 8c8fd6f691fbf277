"""Checks an anonymized file against its original: what is still exposed, and whom a recogniser still knows.

What is measured, how, and what it does not tell is described in docs/audit.md. Reports hold original faces.
"""
