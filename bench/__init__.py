"""Measurements as ratios within one run, so that a slow machine does not fail them."""
