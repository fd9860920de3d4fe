"""What operators may do: see live sessions, end them, revoke tokens, block subjects and tenants.

On a listener of its own, with credentials of its own; ``python -m token_service.operators`` is its command line.
"""
