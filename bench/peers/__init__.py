"""Relays to be compared with: the least that one can be on common libraries."""
