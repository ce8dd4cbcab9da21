-- One row a cell, metric and version is what ingestion makes of the shards; to check it by an index would cost as long
-- as all the rest of taking in a million scores, and no query uses that index.
DROP TABLE scores;

-- One metric on one cell. There is one row a cell, metric and version.
CREATE TABLE scores (
    cell_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    value DOUBLE CHECK (isfinite(value)), -- NULL unless status is ok; a failure is never 0
    status score_status NOT NULL,
    error VARCHAR, -- why there is no value
    scorer_sha256 VARCHAR, -- hash of the weights of the network that judged
    CHECK ((status = 'ok') = (value IS NOT NULL))
);
