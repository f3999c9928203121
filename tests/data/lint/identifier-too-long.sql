-- PostgreSQL cuts names after 63 bytes, and two long ones may become the same.

-- bad: 64 letters and more
ALTER TABLE public.tickers ADD COLUMN the_name_of_the_company_as_it_was_registered_with_the_regulator_in_english text;

-- bad: a table
CREATE TABLE public.the_name_of_the_company_as_it_was_registered_with_the_regulator_in_english (a text);
COMMENT ON TABLE public.the_name_of_the_company_as_it_was_registered_with_the_regulator_in_english IS 'Test';

-- bad: a constraint
ALTER TABLE public.tickers
ADD CONSTRAINT the_name_of_the_company_as_it_was_registered_with_the_regulator_in_english CHECK (symbol <> '') NOT VALID;

-- good: short
ALTER TABLE public.tickers ADD COLUMN registered_name text;

-- good: as long as it may be
ALTER TABLE public.tickers ADD COLUMN the_name_of_the_company_as_it_was_registered_with_the_regulator text;

-- good: a long value
COMMENT ON TABLE public.tickers IS 'the_name_of_the_company_as_it_was_registered_with_the_regulator_in_english';
