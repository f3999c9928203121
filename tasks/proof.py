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
    with documents.opened(output) as file:
        started = datetime.now(UTC)
        result = verification.verify(run.target, directory, baseline=empty, only=names, report=run.view.event)
        document = shown.document(result, run.format, server=run.target.server, started=started)
        file.write(document)
    if run.format == "junit" and not output:
        run.view.result(lambda console: documents.print_as_is(document, console), None)
    else:
        run.view.result(lambda console: shown.text(result, console), shown.data(result))
    return 0 if result.passed else 1
