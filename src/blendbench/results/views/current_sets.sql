-- What is compared with what: suite, models, dtype and sampler of each experiment's latest run.
-- Cells of other sets stay in `cells`, and are never averaged with these.
CREATE OR REPLACE VIEW current_sets AS
WITH latest AS (
    SELECT DISTINCT ON (experiment) experiment, suite_sha256, model_set_sha256, dtype
    FROM runs
    ORDER BY experiment, started_at DESC, run_id DESC
)
SELECT DISTINCT ON (experiment) experiment, suite_sha256, model_set_sha256, dtype, c.sampler_sha256
FROM latest JOIN cells c USING (experiment, suite_sha256, model_set_sha256, dtype)
JOIN runs r USING (run_id)
ORDER BY experiment, r.started_at DESC, r.run_id DESC, c.sampler_sha256;
