-- One row a cell, metric and version is what ingestion makes of the shards; to check it by an index would cost as long
-- as all the rest of taking in a million scores, and no query uses that index.
DROP TABLE scores;

CREATE TABLE scores (
    cell_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    status score_status NOT NULL,
    error VARCHAR,
    scorer_sha256 VARCHAR,
    CHECK ((status = 'ok') = (value IS NOT NULL))
);
