"""Run all measurements; the exit code is 1 if one is beyond its limit."""

from __future__ import annotations

import sys

from bench import migrations

if __name__ == "__main__":
    sys.exit(0 if migrations.main() else 1)
