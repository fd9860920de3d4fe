"""Redeems a session token once, locks the session and carries it to the model and back."""
