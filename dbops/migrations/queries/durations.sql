-- Say how long each file of a transaction took, unless its row has that: since the file before was recorded, or since the
-- transaction began, and 0 where the clock was set back.
UPDATE dbops.schema_migrations AS m
SET duration_ms = coalesce(m.duration_ms, greatest(0, round(1000 * extract(epoch FROM m.applied_at - greatest(now(), (
    SELECT p.applied_at FROM dbops.schema_migrations AS p WHERE p.version = m.version - 1
))))))
WHERE m.version BETWEEN {first} AND {last}
RETURNING m.version, m.duration_ms
