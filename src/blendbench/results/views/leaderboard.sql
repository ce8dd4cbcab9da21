-- One row per experiment, configuration and metric. `mean` is over items of the mean over seeds, of ok scores only:
-- compare rows only where ok = expected. Intervals need the bootstrap of `blendbench leaderboard`.
CREATE OR REPLACE VIEW leaderboard AS
WITH by_item AS (
    SELECT experiment, label, metric, metric_version, item,
        avg(value) AS value,
        count(*) AS expected,
        count(*) FILTER (status = 'ok') AS ok,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'skipped') AS skipped,
        count(*) FILTER (status = 'unscorable') AS unscorable,
        count(*) FILTER (status = 'missing') AS missing
    FROM unit_scores GROUP BY ALL
), effects AS (
    SELECT experiment, label, metric, avg(difference) AS difference
    FROM (SELECT experiment, label, metric, item, avg(difference) AS difference FROM paired_effects GROUP BY ALL)
    GROUP BY ALL
), no_ops AS (
    SELECT experiment, label, count(*) AS same_conditioning FROM no_effect_cells GROUP BY ALL
), configurations AS (
    SELECT experiment, label, any_value(strategy) AS strategy, any_value(control) AS control
    FROM current_cells GROUP BY ALL
)
SELECT b.experiment, b.label, c.strategy, c.control, b.metric, b.metric_version, m.kind, m.direction,
    avg(b.value) AS mean, any_value(e.difference) AS difference_to_text_only,
    count(*) FILTER (b.ok > 0) AS items,
    CAST(sum(b.ok) AS BIGINT) AS ok, CAST(sum(b.failed) AS BIGINT) AS failed,
    CAST(sum(b.skipped) AS BIGINT) AS skipped, CAST(sum(b.unscorable) AS BIGINT) AS unscorable,
    CAST(sum(b.missing) AS BIGINT) AS missing, CAST(sum(b.expected) AS BIGINT) AS expected,
    coalesce(any_value(n.same_conditioning), 0) AS same_conditioning
FROM by_item b
JOIN current_metrics m USING (experiment, metric, metric_version)
LEFT JOIN configurations c USING (experiment, label)
LEFT JOIN effects e USING (experiment, label, metric)
LEFT JOIN no_ops n USING (experiment, label)
GROUP BY ALL
ORDER BY b.experiment, b.label, b.metric;
