-- The chunks, partitions and other descendants of some tables.
WITH RECURSIVE family AS (
    SELECT i.inhparent AS root, i.inhrelid AS child FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = ANY (%s::oid[])
    UNION
    SELECT f.root, i.inhrelid FROM family AS f JOIN pg_catalog.pg_inherits AS i ON i.inhparent = f.child
)
SELECT f.root::int8, f.child::int8 FROM family AS f
