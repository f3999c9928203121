"""A whole database, seen from outside: what it is, what would be lost with it, drop, create, rebuild."""
