-- Do items or seeds move a metric more? More of what moves it more makes differences easier to see.
WITH by_item AS (
    SELECT metric, label, item, avg(value) AS mean, var_samp(value) AS within
    FROM unit_scores WHERE experiment = 'core' AND status = 'ok' GROUP BY ALL
), by_label AS (
    SELECT metric, label, sqrt(avg(within)) AS seeds, stddev_samp(mean) AS items FROM by_item GROUP BY ALL
)
SELECT metric, avg(seeds) AS sd_over_seeds, avg(items) AS sd_over_items FROM by_label GROUP BY metric ORDER BY metric
