-- What is compared with what: suite, models, dtype, sampler and baseline of each experiment's latest run.
-- Cells of other sets stay in `cells`, and are never averaged with these.
CREATE VIEW current_sets AS
SELECT DISTINCT ON (experiment) experiment, suite_sha256, model_set_sha256, dtype, sampler_sha256, baseline, run_id
FROM runs ORDER BY experiment, sequence DESC, run_id DESC;

-- The runs of each experiment's current set.
CREATE VIEW current_runs AS
SELECT r.* FROM runs r
JOIN current_sets USING (experiment, suite_sha256, model_set_sha256, dtype, sampler_sha256);

-- The cells of each experiment's current set, at any state of the code, with the sequence of their run.
CREATE VIEW comparable_cells AS
SELECT c.*, r.sequence FROM cells c JOIN runs r USING (run_id)
JOIN current_sets s ON s.experiment = c.experiment AND s.suite_sha256 = c.suite_sha256
    AND s.model_set_sha256 = c.model_set_sha256 AND s.dtype = c.dtype AND s.sampler_sha256 = c.sampler_sha256;

-- The newest code of each configuration: that of the latest run that generated or planned it in the current set.
CREATE VIEW current_codes AS
WITH codes AS (
    SELECT experiment, label, source_sha256, max(sequence) AS sequence FROM comparable_cells GROUP BY ALL
    UNION ALL
    SELECT experiment, label, source_sha256, sequence FROM planned_configurations JOIN current_runs USING (run_id)
)
SELECT experiment, label, arg_max(source_sha256, (sequence, source_sha256)) AS source_sha256 FROM codes GROUP BY ALL;

-- The cells of each experiment's current set, with the newest code of each configuration.
CREATE VIEW current_cells AS
SELECT * EXCLUDE (sequence) FROM comparable_cells JOIN current_codes USING (experiment, label, source_sha256)
QUALIFY row_number() OVER (PARTITION BY experiment, label, item, seed ORDER BY sequence DESC, cell_id) = 1;

-- Every configuration x item x seed that should exist: what each run planned with the newest code of a configuration,
-- its own items and seeds only, and what any cell covers. Configurations may so have more items than others.
CREATE VIEW expected_cells AS
SELECT r.experiment, p.label, i.item, s.seed
FROM current_runs r JOIN planned_configurations p USING (run_id)
JOIN current_codes k ON k.experiment = r.experiment AND k.label = p.label AND k.source_sha256 = p.source_sha256,
    unnest(CAST(r.items AS VARCHAR[])) AS i(item), unnest(CAST(r.seeds AS BIGINT[])) AS s(seed)
UNION
SELECT experiment, label, item, seed FROM current_cells;

-- The metrics of each experiment's current set, at the version and with the scorer of the latest run that had them.
CREATE VIEW current_metrics AS
SELECT DISTINCT ON (experiment, metric) r.experiment, p.metric, p.metric_version, p.scorer_sha256,
    m.* EXCLUDE (metric, metric_version)
FROM planned_metrics p JOIN current_runs r USING (run_id) JOIN metrics m USING (metric, metric_version)
ORDER BY experiment, metric, r.sequence DESC, r.run_id DESC;

-- The scores that hold now: of the image that a cell has now, of the current version of the metric, and for paired
-- metrics against the image that the baseline has now.
CREATE VIEW current_scores AS
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, c.image_sha256, s.baseline_image_sha256,
    s.metric, s.metric_version, s.scorer_sha256, s.value, s.status, s.error
FROM current_cells c
JOIN scores s ON s.cell_id = c.cell_id AND s.image_sha256 = c.image_sha256
JOIN current_metrics m ON m.experiment = c.experiment AND m.metric = s.metric
    AND m.metric_version = s.metric_version AND m.scorer_sha256 = s.scorer_sha256
JOIN current_sets t ON t.experiment = c.experiment
LEFT JOIN current_cells b ON b.experiment = c.experiment AND b.item = c.item AND b.seed = c.seed
    AND b.label = t.baseline
WHERE s.baseline_image_sha256 = CASE WHEN m.paired THEN coalesce(b.image_sha256, '') ELSE '' END;

-- Long table: one row per expected configuration, item, seed and metric; status says why a value is NULL.
CREATE VIEW unit_scores AS
SELECT e.experiment, e.label, e.item, e.seed, m.metric, m.metric_version, c.cell_id, s.value,
    CASE WHEN c.cell_id IS NULL THEN 'missing' WHEN c.status = 'failed' THEN 'failed'
        ELSE coalesce(CAST(s.status AS VARCHAR), 'missing') END AS status,
    coalesce(c.error, s.error) AS error
FROM expected_cells e
JOIN current_metrics m USING (experiment)
LEFT JOIN current_cells c USING (experiment, label, item, seed)
LEFT JOIN current_scores s USING (experiment, label, item, seed, metric);

-- Each current value beside that of every other configuration at the same item and seed: `difference` is always
-- candidate minus baseline. Name one `baseline_label`, or all pairs of configurations come.
CREATE VIEW pairs AS
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, b.label AS baseline_label, b.cell_id AS baseline_cell_id,
    c.metric, c.metric_version, c.value, b.value AS baseline_value, c.value - b.value AS difference
FROM current_scores c JOIN current_scores b USING (experiment, item, seed, metric)
WHERE c.label <> b.label AND c.status = 'ok' AND b.status = 'ok';

-- The pairs with the experiment's own baseline.
CREATE VIEW paired_effects AS
WITH baselines AS (
    SELECT s.* FROM current_scores s JOIN current_sets t ON t.experiment = s.experiment AND t.baseline = s.label
)
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, b.label AS baseline_label, b.cell_id AS baseline_cell_id,
    c.metric, c.metric_version, c.value, b.value AS baseline_value, c.value - b.value AS difference
FROM current_scores c JOIN baselines b USING (experiment, item, seed, metric)
WHERE c.label <> b.label AND c.status = 'ok' AND b.status = 'ok';

-- The same to look at: dose, prompt and paths of the images beside each difference.
CREATE VIEW image_pairs AS
WITH baselines AS (
    SELECT s.* FROM current_scores s JOIN current_sets t ON t.experiment = s.experiment AND t.baseline = s.label
), doses AS (
    SELECT experiment, label, any_value(dose) AS dose FROM current_cells GROUP BY ALL
), prompts AS (
    SELECT experiment, item, prompt, relation, reference_image FROM items JOIN current_sets USING (suite_sha256)
)
SELECT c.experiment, c.label, d.dose, c.item, c.seed, i.prompt, i.relation, i.reference_image,
    'images/' || left(c.image_sha256, 2) || '/' || c.image_sha256 || '.png' AS image, b.label AS baseline_label,
    'images/' || left(b.image_sha256, 2) || '/' || b.image_sha256 || '.png' AS baseline_image,
    c.metric, c.value, b.value AS baseline_value, c.value - b.value AS difference
FROM current_scores c JOIN baselines b USING (experiment, item, seed, metric)
LEFT JOIN doses d ON d.experiment = c.experiment AND d.label = c.label
LEFT JOIN prompts i ON i.experiment = c.experiment AND i.item = c.item
WHERE c.label <> b.label AND c.status = 'ok' AND b.status = 'ok';

-- Cells whose conditioning is bit for bit that of the baseline: the strategy did nothing there.
CREATE VIEW no_effect_cells AS
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, c.conditioning_sha256
FROM current_cells c
JOIN current_sets s ON s.experiment = c.experiment AND s.baseline <> c.label
JOIN current_cells b ON b.experiment = c.experiment AND b.label = s.baseline AND b.item = c.item AND b.seed = c.seed
    AND b.conditioning_sha256 = c.conditioning_sha256;

-- Everything current that has no value because something went wrong.
CREATE VIEW failures AS
SELECT experiment, label, item, seed, cell_id, NULL AS metric, error FROM current_cells WHERE status = 'failed'
UNION ALL
SELECT experiment, label, item, seed, cell_id, metric, error FROM current_scores WHERE status = 'failed';

-- Wide table: one row per current cell with its prompt and the paths of its images, one column per metric.
CREATE VIEW cell_scores AS
WITH wide AS (
    SELECT experiment, cell_id{metric_columns}
    FROM current_scores s GROUP BY ALL
)
SELECT c.experiment, c.label, c.strategy, c.params, c.family, c.dose, c.control, c.item, c.seed, c.split, i.prompt,
    i.relation, i.stratum, i.reference_image,
    'images/' || left(c.image_sha256, 2) || '/' || c.image_sha256 || '.png' AS image, c.status, c.error, c.cell_id,
    c.conditioning_sha256, c.image_sha256, c.tokens, c.image_tokens, c.imported IS NOT NULL AS imported,
    w.* EXCLUDE (experiment, cell_id)
FROM current_cells c
LEFT JOIN wide w USING (experiment, cell_id)
LEFT JOIN items i ON i.suite_sha256 = c.suite_sha256 AND i.item = c.item;

-- One row per experiment, configuration and metric. `mean` is over items of the mean over seeds, of ok scores only:
-- compare rows only where ok = expected. difference_low..difference_high is the 95 % interval of Student's t over items;
-- that of pages is at least as wide, since it takes a bootstrap in. Sums have an order, so that equal data give equal bits.
CREATE VIEW leaderboard AS
WITH by_item AS (
    SELECT experiment, label, metric, metric_version, item,
        avg(value ORDER BY seed) AS value,
        count(*) AS expected,
        count(*) FILTER (status = 'ok') AS ok,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'skipped') AS skipped,
        count(*) FILTER (status = 'unscorable') AS unscorable,
        count(*) FILTER (status = 'missing') AS missing
    FROM unit_scores GROUP BY ALL
), effects AS (
    SELECT experiment, label, metric, avg(difference ORDER BY item) AS difference,
        stddev_samp(difference ORDER BY item) / sqrt(count(*)) AS error, count(*) - 1 AS df,
        -- The 97.5 % quantile of Student's t: exact up to 4 degrees of freedom, then its series in 1 / df.
        CASE WHEN df = 0 THEN NULL WHEN df <= 4 THEN [12.70620474, 4.30265273, 3.18244631, 2.77644511][df]
            ELSE 1.95996398 + 2.37227123 / df + 2.8224986 / df ** 2 + 2.55584968 / df ** 3 + 1.58953406 / df ** 4
        END AS quantile
    FROM (SELECT experiment, label, metric, item, avg(difference ORDER BY seed) AS difference
        FROM paired_effects GROUP BY ALL)
    GROUP BY ALL
), no_ops AS (
    SELECT experiment, label, count(*) AS same_conditioning FROM no_effect_cells GROUP BY ALL
), configurations AS (
    SELECT experiment, label, any_value(strategy) AS strategy, any_value(family) AS family, any_value(dose) AS dose,
        any_value(control) AS control,
        bool_or(imported IS NOT NULL) AS imported
    FROM current_cells GROUP BY ALL
)
SELECT b.experiment, b.label, c.strategy, c.family, c.dose, c.control, b.metric, b.metric_version, m.role, m.direction,
    avg(b.value ORDER BY b.item) AS mean, any_value(e.difference) AS difference_to_baseline,
    any_value(e.difference - e.quantile * e.error) AS difference_low,
    any_value(e.difference + e.quantile * e.error) AS difference_high,
    count(*) FILTER (b.ok > 0) AS items,
    CAST(sum(b.ok) AS BIGINT) AS ok, CAST(sum(b.failed) AS BIGINT) AS failed,
    CAST(sum(b.skipped) AS BIGINT) AS skipped, CAST(sum(b.unscorable) AS BIGINT) AS unscorable,
    CAST(sum(b.missing) AS BIGINT) AS missing, CAST(sum(b.expected) AS BIGINT) AS expected,
    coalesce(any_value(n.same_conditioning), 0) AS same_conditioning, coalesce(c.imported, false) AS imported
FROM by_item b
JOIN current_metrics m USING (experiment, metric, metric_version)
LEFT JOIN configurations c USING (experiment, label)
LEFT JOIN effects e USING (experiment, label, metric)
LEFT JOIN no_ops n USING (experiment, label)
GROUP BY ALL
ORDER BY b.experiment, b.label, b.metric;

-- The same with one row per configuration: of every metric the mean, and behind it the difference to the baseline.
CREATE VIEW leaderboard_wide AS
SELECT experiment, label, strategy, family, dose, control, imported, max(items) AS items{board_columns}
FROM leaderboard l GROUP BY ALL ORDER BY experiment, label;

-- The latest analysis of each model set on each suite.
CREATE VIEW current_embedding_analyses AS
SELECT DISTINCT ON (model_set, suite) *
FROM embedding_analyses ORDER BY model_set, suite, sequence DESC, analysis_id DESC;

-- Long table: layer x kind of token x with or without position 0 x reference x statistic, of the latest analyses.
-- low..high is a 95 % interval over items where there is one.
CREATE VIEW embedding_statistics AS
SELECT model_set, suite, layer, tokens, position_0, reference, statistic, value, low, high, analysis_id
FROM embedding_values JOIN current_embedding_analyses USING (analysis_id);

-- The dimensions whose spread is furthest from the reference's, either way: `lacks` is what a one-sided test misses.
CREATE VIEW embedding_outliers AS
SELECT model_set, suite, layer, tokens, position_0, reference, rank, dimension, ratio,
    greatest(ratio, 1 / ratio) AS factor, CASE WHEN ratio < 1 THEN 'lacks' ELSE 'exceeds' END AS side,
    std, reference_std, mean, reference_mean, share, reference_share, analysis_id
FROM embedding_dimensions JOIN current_embedding_analyses USING (analysis_id)
WHERE reference <> '';

-- From a cell to the files of what it was made from, for cells that were run with --keep-embeddings.
CREATE VIEW embedding_files AS
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, e.stage, e.layer, e.image_sha256, e.prompt, e.sha256,
    'embeddings/' || e.sha256 || '.safetensors' AS path
FROM cells c JOIN cell_embeddings e USING (cell_id);

-- A blind vote and a metric: who was preferred (1 left, -1 right, 0 no difference) and left minus right of the metric.
CREATE VIEW vote_differences AS
SELECT v.experiment, v.question, v.vote_id, v.voter, s.item, s.seed, s.label AS left_label, t.label AS right_label,
    CASE v.choice WHEN 'left' THEN 1 WHEN 'right' THEN -1 ELSE 0 END AS preference,
    m.metric, m.metric_version, m.role, m.direction, s.value AS left_value, t.value AS right_value,
    s.value - t.value AS difference
FROM votes v
JOIN current_scores s ON s.experiment = v.experiment AND s.cell_id = v.left_cell
JOIN current_scores t ON t.experiment = v.experiment AND t.cell_id = v.right_cell AND t.metric = s.metric
JOIN current_metrics m ON m.experiment = v.experiment AND m.metric = s.metric
WHERE s.status = 'ok' AND t.status = 'ok';

-- How far each metric orders images as voters do. `agreement`: fraction of the decided votes that went to the image
-- the metric calls better. The correlations of preference and difference are taken about 0, so that it does not matter
-- which image stood left: by value, and by rank of the difference's size. Negative is right where lower is better.
CREATE VIEW vote_agreement AS
WITH ranked AS (
    SELECT *, sign(difference) * (
        rank() OVER (PARTITION BY experiment, question, metric ORDER BY abs(difference))
        + (count(*) OVER (PARTITION BY experiment, question, metric, abs(difference)) - 1) / 2
    ) AS signed_rank
    FROM vote_differences
)
SELECT experiment, question, metric, metric_version, role, direction, count(*) AS votes,
    count(*) FILTER (preference * difference <> 0) AS decided,
    CASE direction
        WHEN 'higher' THEN avg(CAST(preference * difference > 0 AS INTEGER)) FILTER (preference * difference <> 0)
        WHEN 'lower' THEN avg(CAST(preference * difference < 0 AS INTEGER)) FILTER (preference * difference <> 0)
    END AS agreement,
    sum(preference * difference ORDER BY vote_id)
        / nullif(sqrt(sum(preference * preference) * sum(difference * difference ORDER BY vote_id)), 0) AS correlation,
    sum(preference * signed_rank ORDER BY vote_id)
        / nullif(sqrt(sum(preference * preference) * sum(signed_rank * signed_rank ORDER BY vote_id)), 0)
        AS rank_correlation
FROM ranked
GROUP BY experiment, question, metric, metric_version, role, direction
ORDER BY experiment, question, metric;

-- Rows that refer to nothing: what foreign keys would refuse. Empty unless shards were deleted or edited.
CREATE VIEW orphans AS
SELECT 'scores' AS table_name, s.cell_id AS id, 'no such cell' AS missing FROM scores s
ANTI JOIN (
    SELECT cell_id FROM cells UNION ALL SELECT unnest(json_keys(images)) FROM forgotten
) USING (cell_id)
UNION ALL
SELECT 'scores', s.cell_id, 'no card of ' || s.metric FROM scores s ANTI JOIN metrics USING (metric, metric_version)
UNION ALL
SELECT 'planned_metrics', p.run_id, 'no card of ' || p.metric
FROM planned_metrics p ANTI JOIN metrics USING (metric, metric_version)
UNION ALL
SELECT 'cells', c.cell_id, 'no such run' FROM cells c ANTI JOIN runs USING (run_id)
UNION ALL
SELECT 'cells', c.cell_id, 'no such item' FROM cells c ANTI JOIN items USING (suite_sha256, item)
UNION ALL
SELECT 'votes', v.vote_id, 'no such cell' FROM votes v
ANTI JOIN (
    SELECT experiment, cell_id FROM cells UNION ALL SELECT experiment, unnest(json_keys(images)) FROM forgotten
) c ON c.experiment = v.experiment AND c.cell_id = v.left_cell
UNION ALL
SELECT 'votes', v.vote_id, 'no such cell' FROM votes v
ANTI JOIN (
    SELECT experiment, cell_id FROM cells UNION ALL SELECT experiment, unnest(json_keys(images)) FROM forgotten
) c ON c.experiment = v.experiment AND c.cell_id = v.right_cell;
