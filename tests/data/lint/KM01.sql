-- bad: no header
ALTER TABLE public.tickers ADD COLUMN isin text;

-- bad: nothing about locks
-- Why:   the exchange identifies a stock by its ISIN.
-- Needs: 0002.
ALTER TABLE public.tickers ADD COLUMN isin text;

-- bad: the header comes too late
SELECT 1 AS one;
-- Why:   the exchange identifies a stock by its ISIN.
-- Needs: 0002.
-- Locks: ACCESS EXCLUSIVE on public.tickers (for an instant)

-- good: all three
-- Why:   the exchange identifies a stock by its ISIN.
-- Needs: 0002.
-- Locks: ACCESS EXCLUSIVE on public.tickers (for an instant)
ALTER TABLE public.tickers ADD COLUMN isin text;

-- good: in another order, with more
-- Locks: none
-- Needs: nothing.
-- See:   the schema contract.
-- Why:   to show it.
SELECT 1 AS one;

-- good: as a block comment
/* Why: to show it. Needs: nothing. Locks: none. */
SELECT 1 AS one;
