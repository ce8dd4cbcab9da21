-- Every configuration x item x seed that should exist: what the runs planned, and what any cell covers.
CREATE OR REPLACE VIEW expected_cells AS
WITH planned AS (
    SELECT r.experiment, r.plan
    FROM runs r JOIN current_sets USING (experiment, suite_sha256, model_set_sha256, dtype)
), labels AS (
    SELECT experiment, unnest(CAST(plan ->> '$.labels' AS VARCHAR[])) AS label FROM planned
    UNION SELECT experiment, label FROM current_cells
), units AS (
    SELECT p.experiment, i.item, s.seed
    FROM planned p, unnest(CAST(p.plan ->> '$.items' AS VARCHAR[])) AS i(item),
        unnest(CAST(p.plan ->> '$.seeds' AS BIGINT[])) AS s(seed)
    UNION SELECT experiment, item, seed FROM current_cells
)
SELECT experiment, label, item, seed FROM labels JOIN units USING (experiment);
