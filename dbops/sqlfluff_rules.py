"""The story's forbidden list as sqlfluff rules: what a migration of this baseline may not do."""
