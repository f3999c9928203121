"""Migrations: files that change the schema, in order, each once, with a ledger of what was applied."""
