"""Applications of other people's realtime clients, each able to hold the same four conversations."""
