"""What lint says of SQL: `python -m dbops.lint`, and `invoke db.lint` for migrations."""
