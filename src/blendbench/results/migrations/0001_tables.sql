CREATE TYPE cell_status AS ENUM ('ok', 'failed');
CREATE TYPE score_status AS ENUM ('ok', 'failed', 'skipped', 'unscorable');
CREATE TYPE metric_direction AS ENUM ('lower', 'higher', 'none');

CREATE TABLE shards (name VARCHAR PRIMARY KEY, bytes BIGINT NOT NULL);

CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    experiment VARCHAR NOT NULL,
    started_at VARCHAR NOT NULL,
    blendbench_version VARCHAR NOT NULL,
    git_commit VARCHAR,
    model_set VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    suite_sha256 VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    sampler JSON NOT NULL,
    environment JSON NOT NULL,
    metrics JSON NOT NULL,
    plan JSON NOT NULL
);

CREATE TABLE suites (
    suite_sha256 VARCHAR PRIMARY KEY,
    suite VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    title VARCHAR NOT NULL
);

CREATE TABLE items (
    suite_sha256 VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    reference_sha256 VARCHAR NOT NULL,
    reference_caption VARCHAR NOT NULL,
    relation VARCHAR NOT NULL,
    expect JSON,
    reference_expect JSON,
    reference_picture VARCHAR,
    PRIMARY KEY (suite_sha256, item)
);

CREATE TABLE strategies (
    strategy VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    source_sha256 VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    equation VARCHAR NOT NULL,
    doc VARCHAR NOT NULL,
    control BOOLEAN NOT NULL,
    PRIMARY KEY (strategy, version, source_sha256)
);

CREATE TABLE metrics (
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    title VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    direction metric_direction NOT NULL,
    unit VARCHAR NOT NULL,
    margin DOUBLE NOT NULL CHECK (isfinite(margin)),
    decimals INTEGER NOT NULL,
    PRIMARY KEY (metric, metric_version)
);

CREATE TABLE cells (
    cell_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    params JSON NOT NULL,
    label VARCHAR NOT NULL,
    control BOOLEAN NOT NULL,
    item VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    suite_sha256 VARCHAR NOT NULL,
    sampler_sha256 VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    status cell_status NOT NULL,
    error VARCHAR,
    conditioning_sha256 VARCHAR,
    picture_sha256 VARCHAR,
    noise_seed UBIGINT NOT NULL,
    tokens INTEGER,
    source_sha256 VARCHAR NOT NULL,
    PRIMARY KEY (experiment, cell_id),
    CHECK ((status = 'ok') = (picture_sha256 IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL))
);

CREATE TABLE scores (
    cell_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    status score_status NOT NULL,
    error VARCHAR,
    scorer_sha256 VARCHAR,
    PRIMARY KEY (cell_id, metric, metric_version),
    CHECK ((status = 'ok') = (value IS NOT NULL))
);

CREATE TABLE stage_times (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)),
    count BIGINT NOT NULL
);

CREATE TABLE conditionings (
    conditioning_sha256 VARCHAR PRIMARY KEY,
    tokens INTEGER NOT NULL,
    dim INTEGER NOT NULL,
    mean DOUBLE NOT NULL CHECK (isfinite(mean)),
    std DOUBLE NOT NULL CHECK (isfinite(std)),
    rms DOUBLE NOT NULL CHECK (isfinite(rms))
);
