"""Measurements: how long whole commands take against the least that could be, and against other tools."""
