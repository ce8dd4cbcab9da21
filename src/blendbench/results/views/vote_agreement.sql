-- How far each metric orders images as voters do. `agreement`: share of the decided votes that went to the image
-- the metric calls better. The correlations of preference and difference are taken about 0, so that it does not matter
-- which image stood left: by value, and by rank of the difference's size. Negative is right where lower is better.
CREATE OR REPLACE VIEW vote_agreement AS
WITH ranked AS (
    SELECT *, sign(difference) * (
        rank() OVER (PARTITION BY experiment, question, metric ORDER BY abs(difference))
        + (count(*) OVER (PARTITION BY experiment, question, metric, abs(difference)) - 1) / 2
    ) AS signed_rank
    FROM vote_differences
)
SELECT experiment, question, metric, metric_version, kind, direction, count(*) AS votes,
    count(*) FILTER (preference * difference <> 0) AS decided,
    CASE direction
        WHEN 'higher' THEN avg(CAST(preference * difference > 0 AS INTEGER)) FILTER (preference * difference <> 0)
        WHEN 'lower' THEN avg(CAST(preference * difference < 0 AS INTEGER)) FILTER (preference * difference <> 0)
    END AS agreement,
    sum(preference * difference) / nullif(sqrt(sum(preference * preference) * sum(difference * difference)), 0)
        AS correlation,
    sum(preference * signed_rank) / nullif(sqrt(sum(preference * preference) * sum(signed_rank * signed_rank)), 0)
        AS rank_correlation
FROM ranked
GROUP BY experiment, question, metric, metric_version, kind, direction
ORDER BY experiment, question, metric;
