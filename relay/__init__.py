"""Redeems a session token once, locks the session and carries it to the model and back."""

from relay.compiled import search_path

__path__[:0] = search_path()
