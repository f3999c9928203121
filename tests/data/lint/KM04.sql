-- bad: a role
CREATE ROLE app LOGIN;

-- bad: a password in a file
ALTER ROLE app PASSWORD 'secret';

-- bad: another role for the rest of the file
SET ROLE app;

-- bad: a role is dropped
DROP ROLE app;

-- good: a right for a role that the operator has made
GRANT SELECT ON public.tickers TO reader;

-- good: a column of that name
ALTER TABLE public.tickers ADD COLUMN role_name text;

-- good: a setting that is no role
SET LOCAL work_mem = '16MB';
