-- What failed, how often, and why?
SELECT experiment, label, coalesce(metric, 'image') AS what, error, count(*) AS times
FROM failures GROUP BY ALL ORDER BY times DESC, label
