-- The cells of each experiment's current set, with the newest code of each configuration.
CREATE OR REPLACE VIEW current_cells AS
WITH comparable AS (
    SELECT c.*, r.started_at
    FROM cells c
    JOIN current_sets USING (experiment, suite_sha256, model_set_sha256, dtype, sampler_sha256)
    JOIN runs r USING (run_id)
), newest AS (
    SELECT experiment, label, arg_max(source_sha256, (started_at, run_id, source_sha256)) AS source_sha256
    FROM comparable GROUP BY ALL
)
SELECT * EXCLUDE (started_at) FROM comparable JOIN newest USING (experiment, label, source_sha256);
