"""Several workers behind one port: what ``WORKERS=n`` adds to a service (docs/workers.md).

A parent binds the port, starts n processes, replaces those that die, and stops them together; what they know of
themselves it adds up. It serves nothing and carries no session: connections go from the kernel to a worker.
"""
