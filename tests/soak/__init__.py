"""What takes minutes: many connections, many frames, many sessions at once, one long session."""
