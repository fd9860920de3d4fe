"""What both services are built from; imports neither of them."""
