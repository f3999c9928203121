-- row_in_tickers
-- verify: rows public.tickers => 1 rows
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');

-- row_in_ohlcv
-- verify: rows public.ohlcv => 1 rows
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.ohlcv (ticker_id, date) SELECT id, '2026-01-02' FROM public.tickers;

-- row_in_options_chains
-- verify: rows public.options_chains => 1 rows
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.options_chains (time, ticker_id, expiration_date, strike_price, option_type)
SELECT now(), id, '2026-01-16', 200, 'C' FROM public.tickers;

-- row_in_daily_snapshots
-- verify: rows public.daily_snapshots => 1 rows
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.daily_snapshots (time, ticker_id) SELECT now(), id FROM public.tickers;

-- row_in_recommendations
-- verify: rows public.recommendations => 1 rows
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.daily_snapshots (time, ticker_id) SELECT now(), id FROM public.tickers;
INSERT INTO public.recommendations (snapshot_time, ticker_id, recommendation_date, direction, action)
SELECT time, ticker_id, '2026-01-02', 'LONG', 'BUY' FROM public.daily_snapshots;

-- row_in_recommendation_outcomes
-- verify: rows public.recommendation_outcomes => 1 rows
-- drift: nothing
INSERT INTO public.tickers (symbol) VALUES ('AAPL');
INSERT INTO public.daily_snapshots (time, ticker_id) SELECT now(), id FROM public.tickers;
INSERT INTO public.recommendations (snapshot_time, ticker_id, recommendation_date, direction, action)
SELECT time, ticker_id, '2026-01-02', 'LONG', 'BUY' FROM public.daily_snapshots;
INSERT INTO public.recommendation_outcomes (recommendation_id, evaluation_date)
SELECT id, '2026-02-02' FROM public.recommendations;
