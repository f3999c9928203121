"""docs/schema.md is what the migrations give, and Mermaid can read the names in it."""

from __future__ import annotations

import re

from dbops.catalog import read_expected, schema_text
from dbops.catalog.diagram import diagram
from dbops.database.schema import built_from
from dbops.migrations.files import discover
from dbops.settings import MIGRATIONS, ROOT, SCHEMA, Target
from tests.support import servers


def test_docs_schema_is_current(built: Target) -> None:
    with servers.connect(built) as connection:
        fresh = diagram(connection)
    committed = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    assert committed == fresh, "run `invoke db.rebuild` and `invoke db.diagram`, then commit docs/schema.md"


def test_diagram_of_odd_names_stays_readable_for_mermaid_and_markdown(built: Target) -> None:
    with servers.connect(built) as connection:
        connection.execute('CREATE SCHEMA "other one"')
        connection.execute(
            'CREATE TABLE "other one"."Odd ""table""" ('
            'id uuid PRIMARY KEY, "a | b" numeric(12, 4)[], t time(3) without time zone, "1x" integer, "PK" integer, '
            "parent uuid REFERENCES tickers, CHECK (\"a | b\" IS NULL OR id::text || 'x' <> ''))"
        )
        connection.execute('COMMENT ON COLUMN "other one"."Odd ""table""".t IS E\'two\\nlines | <b>\'')
        document = diagram(connection)
    chart = document.split("```mermaid\n")[1].split("```")[0]
    assert '    "tickers" |o--o{ "other one.Odd table" : "parent"\n' in chart
    assert "        numeric_12_4_array a___b\n" in chart
    assert "        integer _1x\n" in chart
    assert "        integer _PK\n" in chart
    for line in chart.splitlines():
        if line.startswith("        "):
            assert re.fullmatch(r" {8}[A-Za-z]\w* [A-Za-z_]\w*( (PK|FK|UK)(, (PK|FK|UK))*)?", line), line
    assert "| `t` | `time(3) without time zone` | yes |  | two lines \\| &lt;b> |" in document
    assert "`a \\| b`" in document


def test_expected_schema_is_current(built: Target) -> None:
    with servers.connect(built) as connection:
        fresh = schema_text(connection)
    committed = read_expected(SCHEMA)
    assert committed.text == fresh, "run `invoke db.fingerprint --write`, then commit db/schema.txt"
    assert committed.built_from == built_from(discover(MIGRATIONS))
