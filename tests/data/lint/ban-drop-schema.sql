-- Clients that were released before and name the schema fail; with CASCADE everything in it is gone.

-- bad: a client may still use it
DROP SCHEMA archive;

-- bad: IF EXISTS changes nothing about that
DROP SCHEMA IF EXISTS archive;

-- bad: with all tables in it
DROP SCHEMA archive CASCADE;

-- good: with a reason
-- lint: allow ban-drop-schema because it has been empty since release 1.4
DROP SCHEMA archive;

-- good: the opposite
CREATE SCHEMA archive;

-- good: a comment about it
COMMENT ON SCHEMA public IS 'Never DROP SCHEMA this one';
