-- The chunks and partitions of some tables. Partitions of partitions are among these tables themselves.
SELECT i.inhparent::int8, i.inhrelid::int8 FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = ANY (%s::oid[])
