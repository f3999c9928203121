"""Plant in a database, as its owner, everything that could run in another role's session: run as that owner.

Each planted object calls `public.caught`, which writes to the server's log in whose session it ran, whatever role that
had become, since SET ROLE NONE undoes it: a transaction that only reads can do no more, and what an error would show
may be lost in a handler. `public.allowed()` counts what could be planted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dbops.settings import Target
from tests.support import servers
from tests.support.servers import TestServer

CAUGHT = """
CREATE FUNCTION public.caught(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE LOG 'planted: % ran as % in %', what, session_user, pg_catalog.current_database();
    RETURN true;
END $$
"""
# Each block makes what it can: pseudo-types, for one, cannot be taken or returned by every language.
FUNCTIONS = """
DO $$
DECLARE f record; made integer := 0;
BEGIN
    FOR f IN
        SELECT p.oid, p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.prokind,
               pg_get_function_result(p.oid) AS result
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'w')
          AND pg_get_function_arguments(p.oid) !~ 'internal'
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS '
                '$f$ BEGIN PERFORM public.caught(%L); RETURN NULL; END $f$',
                f.proname, f.arguments, f.result, format('function %I(%s)', f.proname, f.arguments));
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    IF made < 1500 THEN RAISE EXCEPTION 'only % functions were planted', made; END IF;
END $$
"""
OPERATORS = """
DO $$
DECLARE o record; made integer := 0;
BEGIN
    FOR o IN
        SELECT p.oid, p.oprname, nullif(p.oprleft, 0)::regtype AS l, p.oprright::regtype AS r, p.oprresult::regtype AS x
        FROM pg_catalog.pg_operator AS p WHERE p.oprnamespace = 'pg_catalog'::regnamespace
        UNION ALL
        -- Closer to what is written than PostgreSQL's own, which need a cast.
        SELECT 0, '=', l::regtype, r::regtype, 'boolean'::regtype
        FROM (VALUES ('name', 'text'), ('oid', 'integer'), ('text', 'name'), ('name', 'name')) AS v (l, r)
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION public.planted_operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS '
                '$f$ BEGIN PERFORM public.caught(%L); RETURN NULL; END $f$',
                made, concat_ws(', ', o.l, o.r), o.x, format('operator %s (%s, %s)', o.oprname, o.l, o.r));
            EXECUTE format(
                'CREATE OPERATOR public.%s (FUNCTION = public.planted_operator_%s, RIGHTARG = %s%s)',
                o.oprname, made, o.r, ', LEFTARG = ' || o.l);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    IF made < 600 THEN RAISE EXCEPTION 'only % operators were planted', made; END IF;
END $$
"""
VIEWS = """
DO $$
DECLARE c record; made integer := 0;
BEGIN
    FOR c IN
        SELECT DISTINCT ON (relname) oid, relname FROM pg_catalog.pg_class
        WHERE relkind IN ('r', 'v') AND relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        ORDER BY relname, relnamespace
    LOOP
        BEGIN
            EXECUTE format('CREATE VIEW public.%I AS SELECT * FROM %s WHERE public.caught(%L)',
                           c.relname, c.oid::regclass, format('view %I', c.relname));
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    IF made < 150 THEN RAISE EXCEPTION 'only % views were planted', made; END IF;
END $$
"""
TYPES = """
DO $$
DECLARE t record; made integer := 0;
BEGIN
    FOR t IN
        SELECT typname FROM pg_catalog.pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0
    LOOP
        BEGIN
            EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.%1$I CHECK (public.caught(%L))',
                           t.typname, format('type %I', t.typname));
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    IF made < 30 THEN RAISE EXCEPTION 'only % types were planted', made; END IF;
END $$
"""
# What runs when a table of the owner's is read, described, planned or written.
OBJECTS = (
    "CREATE FUNCTION public.planted_number(what text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM public.caught(what); RETURN 1; END $$",
    "CREATE FUNCTION public.planted_trigger() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM public.caught('trigger'); RETURN NEW; END $$",
    "CREATE TYPE public.planted_enum AS ENUM ('x')",
    "CREATE FUNCTION public.planted_cast(public.planted_enum) RETURNS pg_catalog.text LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM public.caught('cast'); RETURN 'x'; END $$",
    "CREATE CAST (public.planted_enum AS pg_catalog.text) WITH FUNCTION public.planted_cast AS IMPLICIT",
    "CREATE TABLE public.indexed (id integer, at timestamptz DEFAULT pg_catalog.now(), kind public.planted_enum)",
    "INSERT INTO public.indexed SELECT n, pg_catalog.now(), 'x' FROM pg_catalog.generate_series(1, 100) AS n",
    "CREATE INDEX ON public.indexed (at)",
    "CREATE INDEX ON public.indexed ((public.planted_number('an index')))",
    "CREATE INDEX ON public.indexed (id) WHERE public.planted_number('a partial index') = 1",
    "CREATE TABLE public.measured (id integer)",
    "INSERT INTO public.measured VALUES (1)",
    "CREATE STATISTICS public.planted_statistics ON (public.planted_number('statistics') + id), id"
    " FROM public.measured",
    "CREATE TABLE public.watched (id integer CHECK (public.caught('check')),"
    " computed integer GENERATED ALWAYS AS (public.planted_number('generated')) STORED)",
    "INSERT INTO public.watched VALUES (1)",
    "CREATE TRIGGER planted BEFORE INSERT OR UPDATE OR DELETE ON public.watched"
    " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
    "ALTER TABLE public.watched ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "CREATE POLICY planted ON public.watched USING (public.caught('policy'))",
    "CREATE TABLE public.parted (id integer) PARTITION BY LIST ((public.planted_number('partition key') + id))",
    "CREATE TABLE public.parted_1 PARTITION OF public.parted DEFAULT",
    "INSERT INTO public.parted VALUES (1)",
    "CREATE MATERIALIZED VIEW public.planted_matview AS SELECT public.caught('materialized view') AS x",
)


@dataclass(frozen=True, slots=True)
class Log:
    """The part of a server's log that was written since this was made."""

    path: Path
    begin: int

    @classmethod
    def of(cls, server: TestServer) -> Log:
        """Return the log of a server that the tests started, from its end on."""
        assert server.directory
        path = next(server.directory.rglob("*.log"))
        return cls(path, path.stat().st_size)

    def planted(self, target: Target) -> set[str]:
        """Return what ran since then in a database in sessions of the role of a target."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            text = file.read().decode(errors="replace")
        role, database = re.escape(target.parameters["user"]), re.escape(target.database)
        return set(re.findall(rf"planted: (.*) ran as {role} in {database}$", text, re.MULTILINE))


def plant(own: Target) -> None:
    """Plant everything in a database, as its owner, whose sessions have PostgreSQL's own search path meanwhile."""
    with servers.connect(own) as connection:
        connection.execute("SET search_path = pg_catalog")
        for statement in (CAUGHT, *OBJECTS, FUNCTIONS, OPERATORS, TYPES, VIEWS):
            connection.execute(statement.encode())
        # Aggregates as they are called most.
        connection.execute("""CREATE FUNCTION public.planted_step(state pg_catalog.int8, input anyelement)
            RETURNS pg_catalog.int8 LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.caught('aggregate'); RETURN 1; END $$""")
        connection.execute("""CREATE FUNCTION public.planted_step(state pg_catalog.int8)
            RETURNS pg_catalog.int8 LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.caught('aggregate'); RETURN 1; END $$""")
        for aggregate in ("count(*)", "count(anyelement)", "max(anyelement)", "min(anyelement)", "sum(anyelement)"):
            connection.execute(
                f"CREATE AGGREGATE public.{aggregate} (SFUNC = public.planted_step, STYPE = pg_catalog.int8)".encode()
            )
