"""Mints single-use session tokens: authenticate, limit, mint; also serves the page."""
