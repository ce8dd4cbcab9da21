-- What `paired_effects` shows, kept as rows: over ten million scores the join takes ten seconds, reading these a fraction.
CREATE TABLE paired_scores (
    experiment VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    value DOUBLE NOT NULL,
    baseline_value DOUBLE NOT NULL
);
