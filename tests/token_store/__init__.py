"""What is true of tokens and leases in Redis, by the scripts of both services together, on every kind of server."""
