-- add_label
-- verify: type public.recommendation_status => {active,closed,expired,cancelled}
ALTER TYPE public.recommendation_status ADD VALUE 'cancelled';

-- rename_label
-- verify: type public.option_strategy => COVERED_CALL
ALTER TYPE public.option_strategy RENAME VALUE 'CSP' TO 'COVERED_CALL';

-- order_of_labels
-- verify: type public.option_type => {P,C}
UPDATE pg_catalog.pg_enum SET enumsortorder = -enumsortorder
WHERE enumtypid = 'public.option_type'::regtype;

-- drop_label
-- verify: type public.outcome_status => {WIN,LOSS}
DELETE FROM pg_catalog.pg_enum WHERE enumtypid = 'public.outcome_status'::regtype AND enumlabel = 'NEUTRAL';

-- label_that_looks_like_two
-- verify: type public.option_type => {"C, P"}
DELETE FROM pg_catalog.pg_enum WHERE enumtypid = 'public.option_type'::regtype AND enumlabel = 'P';
UPDATE pg_catalog.pg_enum SET enumlabel = 'C, P'
WHERE enumtypid = 'public.option_type'::regtype;

-- rename_type
-- verify: type public.recommendation_action
ALTER TYPE public.recommendation_action RENAME TO action;

-- rename_type_is_extra
-- drift: type public.action => +type public.action
ALTER TYPE public.recommendation_action RENAME TO action;

-- move_type
-- verify: type public.recommendation_direction
ALTER TYPE public.recommendation_direction SET SCHEMA dbops;

-- type_owner
-- verify: type public.outcome_status => owner: pg_monitor
ALTER TYPE public.outcome_status OWNER TO pg_monitor;

-- add_enum
-- drift: type public.mood => +type public.mood
CREATE TYPE public.mood AS ENUM ('good', 'bad');

-- add_composite_type
-- drift: type public.pair => +type public.pair
CREATE TYPE public.pair AS (a integer, b integer);

-- add_range_type
-- drift: type public.prices => +type public.prices
CREATE TYPE public.prices AS RANGE (subtype = numeric);

-- add_domain
-- drift: domain public.price => +domain public.price
CREATE DOMAIN public.price AS numeric;

-- add_domain_over_array
-- drift: domain public.events => +domain public.events
CREATE DOMAIN public.events AS text[];

-- comment_on_attribute
-- drift: type public.pair => +    attribute b comment "second"
CREATE TYPE public.pair AS (a integer, b integer);
COMMENT ON COLUMN public.pair.b IS 'second';

-- range_with_functions_and_collation
-- drift: type public.words => +    range of text collate "C" operator class text_pattern_ops
CREATE TYPE public.words AS RANGE (subtype = text, collation = "C", subtype_opclass = text_pattern_ops);

-- range_with_difference
-- drift: type public.prices => +    range of double precision difference float8mi
CREATE TYPE public.prices AS RANGE (subtype = float8, subtype_diff = float8mi);

-- comment_on_a_constraint_of_a_domain
-- drift: domain public.positive => +    constraint positive_check comment "above zero"
CREATE DOMAIN public.positive AS integer CONSTRAINT positive_check CHECK (value > 0);
COMMENT ON CONSTRAINT positive_check ON DOMAIN public.positive IS 'above zero';
