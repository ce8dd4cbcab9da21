-- Wide table: one row a cell, one column a metric (its newest version).
CREATE OR REPLACE VIEW cell_scores AS
SELECT c.experiment, c.label, c.strategy, c.params, c.control, c.item, c.seed, c.status, c.error, c.cell_id,
    c.conditioning_sha256, c.image_sha256, c.tokens{metric_columns}
FROM cells c
LEFT JOIN (
    SELECT cell_id, metric, arg_max(s.value, s.metric_version) FILTER (s.status = 'ok') AS value
    FROM scores s JOIN (SELECT metric, max(metric_version) AS metric_version FROM scores GROUP BY metric) newest
        USING (metric, metric_version)
    GROUP BY ALL
) s USING (cell_id)
GROUP BY ALL;
