-- Right after a rebuild no ingestion has run.
SELECT
    'rows public.tickers' AS check_name,
    count(*) = 0 AS passed,
    '0 rows' AS expected,
    count(*) || ' rows' AS actual
FROM public.tickers;
