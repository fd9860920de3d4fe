"""The page in a real Chromium, against the real services and the simulated model."""
