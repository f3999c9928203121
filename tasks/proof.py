"""Tasks that prove that the database is what it should be, and describe it."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.runner import Run, operation


@operation(
    formats=("text", "json", "junit"),
    empty="Also run the baseline suite: no row anywhere, and nothing left uncounted.",
    only="Run only the check files of these names, separated by commas; --list shows them.",
    list="Show the check files instead of running them.",
    output="Write the result to this file too, in the chosen format.",
)
def verify(run: Run, empty: bool = False, only: str = "", list: bool = False, output: str = "") -> int:  # noqa: A002
    """Check that the schema is what it should be; reads only, waits for no lock; exit code 1 if a check fails."""
    from dbops import verification
    from dbops.report import documents
    from dbops.report import verification as shown

    directory = run.settings.verify
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    if list:
        files = verification.select(verification.list_checks(directory, baseline=empty), names)
        run.view.result(lambda console: shown.listing(files, console), shown.listing_data(files))
        return 0
    with documents.opened(output) as write:
        started = datetime.now(UTC)
        result = verification.verify(run.target, directory, baseline=empty, only=names, report=run.view.event)
        document = shown.document(result, run.format, server=run.target.server, started=started)
        write(document)
    if run.format == "junit" and not output:
        run.view.result(lambda console: documents.print_as_is(document, console), None)
    else:
        run.view.result(lambda console: shown.text(result, console), shown.data(result))
    return 0 if result.passed else 1


@operation()
def drift(run: Run) -> int:
    """Compare the live schema with a fresh build of the migrations in a scratch database; exit code 1 on drift."""
    from dbops import catalog, migrations
    from dbops.report import drift as shown

    files = migrations.discover(run.settings.migrations)
    result = catalog.drift(run.target, files, report=run.view.event)
    run.view.result(lambda console: shown.text(result, console), shown.data(result))
    return 1 if result.found else 0


@operation(text="Print the canonical text that is hashed instead of its hash.")
def fingerprint(run: Run, text: bool = False) -> None:
    """Print one sha256 of the schema: the same migrations give the same one, wherever they ran."""
    from dbops import catalog, postgres
    from dbops.report import documents

    with postgres.connect(run.target) as connection, postgres.translated(run.target):
        schema = catalog.schema_text(connection)
    value = catalog.fingerprint(schema)
    data = {"database": run.target.database, "fingerprint": value, **({"text": schema} if text else {})}
    run.view.result(lambda console: documents.print_as_is(schema if text else f"{value}\n", console), data)


@operation(output="File to write; default docs/schema.md of this repository.")
def diagram(run: Run, output: str = "") -> None:
    """Write the live schema as Markdown, with an entity-relationship diagram and a section per table."""
    from dbops import catalog, postgres, settings
    from dbops.report import documents

    path = output or str(settings.ROOT / "docs" / "schema.md")
    with postgres.connect(run.target) as connection, postgres.translated(run.target):
        document = catalog.diagram(connection)
    with documents.opened(path) as write:
        write(document)
    run.view.result(lambda console: documents.print_as_is(f"Written: {path}\n", console), {"output": path})
