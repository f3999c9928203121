-- Definitions that take several lines: functions, aggregates, views.
WITH definition AS (
    SELECT r.object, pg_get_functiondef(r.oid) AS body
    FROM routine AS r JOIN pg_proc AS p ON p.oid = r.oid AND p.prokind <> 'a'
    UNION ALL
    SELECT
        r.object,
        format(
            E'transition %s, state %s, final %s, combine %s, start %s\nparallel %s', a.aggtransfn::regproc,
            format_type(a.aggtranstype, NULL), a.aggfinalfn::regproc, a.aggcombinefn::regproc, a.agginitval,
            p.proparallel
        )
    FROM routine AS r
    JOIN pg_proc AS p ON p.oid = r.oid
    JOIN pg_aggregate AS a ON a.aggfnoid = r.oid
    UNION ALL
    -- TimescaleDB numbers what stands behind a continuous aggregate as it comes.
    SELECT r.object, regexp_replace(pg_get_viewdef(r.oid), '(_materialized_hypertable_|cagg_watermark\()\d+', '\1', 'g')
    FROM relation AS r WHERE r.kind IN ('v', 'm')
)
SELECT d.object, 8, l.number, '| ' || l.line
FROM definition AS d
CROSS JOIN LATERAL regexp_split_to_table(rtrim(d.body, E'\n'), '\n') WITH ORDINALITY AS l (line, number)
