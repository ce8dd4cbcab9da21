-- Where did the time go?
SELECT experiment, stage, sum(seconds) AS seconds, sum(count) AS things, sum(seconds) / sum(count) AS seconds_each
FROM stage_times JOIN runs USING (run_id) GROUP BY ALL ORDER BY experiment, seconds DESC
