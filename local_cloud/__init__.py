"""Stand-ins that speak the real wire protocols on loopback; the services never import them."""
