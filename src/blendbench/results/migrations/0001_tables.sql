CREATE TYPE cell_status AS ENUM ('ok', 'failed');
CREATE TYPE score_status AS ENUM ('ok', 'failed', 'skipped', 'unscorable');
CREATE TYPE metric_direction AS ENUM ('lower', 'higher', 'none');

-- Which files of `shards/` the rows below were made from, and how long these were.
CREATE TABLE shards (name VARCHAR PRIMARY KEY, bytes BIGINT NOT NULL);

-- One call of `blendbench run`.
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    experiment VARCHAR NOT NULL,
    started_at VARCHAR NOT NULL, -- ISO 8601, UTC
    blendbench_version VARCHAR NOT NULL,
    git_commit VARCHAR,
    model_set VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL, -- hash of weights and settings
    suite VARCHAR NOT NULL,
    suite_sha256 VARCHAR NOT NULL, -- hash of the frozen suite
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    sampler JSON NOT NULL, -- resolved sigmas, size, number of transformer calls
    environment JSON NOT NULL, -- versions of what matters
    metrics JSON NOT NULL, -- version by name
    plan JSON NOT NULL -- items, seeds and labels that were meant to be there
);

-- A frozen suite, known by its hash.
CREATE TABLE suites (
    suite_sha256 VARCHAR PRIMARY KEY,
    suite VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    title VARCHAR NOT NULL
);

-- One prompt of a suite with its reference image.
CREATE TABLE items (
    suite_sha256 VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    reference_sha256 VARCHAR NOT NULL,
    reference_caption VARCHAR NOT NULL,
    relation VARCHAR NOT NULL, -- how reference and prompt are related
    expect JSON, -- what must be true of the output
    reference_expect JSON, -- what is true of the reference
    reference_image VARCHAR, -- path in the results folder
    PRIMARY KEY (suite_sha256, item)
);

-- A strategy at one state of its code.
CREATE TABLE strategies (
    strategy VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    source_sha256 VARCHAR NOT NULL, -- hash of the function's code
    source VARCHAR NOT NULL, -- where it comes from
    equation VARCHAR NOT NULL,
    doc VARCHAR NOT NULL,
    control BOOLEAN NOT NULL,
    PRIMARY KEY (strategy, version, source_sha256)
);

-- A metric at one version, as its card says.
CREATE TABLE metrics (
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    title VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, -- adherence, artifact, reference, drift, effect or diagnostic
    direction metric_direction NOT NULL,
    unit VARCHAR NOT NULL,
    margin DOUBLE NOT NULL CHECK (isfinite(margin)), -- differences up to this count as none
    decimals INTEGER NOT NULL, -- how many are shown
    PRIMARY KEY (metric, metric_version)
);

-- Configuration x item x seed: the unit of work. A cell may belong to several experiments.
CREATE TABLE cells (
    cell_id VARCHAR NOT NULL, -- hash of all that may change the pixels
    run_id VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    params JSON NOT NULL,
    label VARCHAR NOT NULL, -- strategy with the parameters that differ from its defaults
    control BOOLEAN NOT NULL, -- a strategy that every run contains
    item VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    suite_sha256 VARCHAR NOT NULL,
    sampler_sha256 VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    status cell_status NOT NULL,
    error VARCHAR, -- why there is no image
    conditioning_sha256 VARCHAR, -- equal for cells that were drawn from the same conditioning
    image_sha256 VARCHAR, -- the file is `images/<two digits>/<sha256>.png`
    noise_seed UBIGINT NOT NULL, -- of the initial latents; equal for all strategies of an item and seed
    tokens INTEGER, -- length of the conditioning
    source_sha256 VARCHAR NOT NULL, -- hash of the strategy's code
    PRIMARY KEY (experiment, cell_id),
    CHECK ((status = 'ok') = (image_sha256 IS NOT NULL)),
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

-- Wall time of one stage of a run, and how many things it handled.
CREATE TABLE stage_times (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)),
    count BIGINT NOT NULL
);

-- Shape and moments of a conditioning.
CREATE TABLE conditionings (
    conditioning_sha256 VARCHAR PRIMARY KEY,
    tokens INTEGER NOT NULL,
    dim INTEGER NOT NULL,
    mean DOUBLE NOT NULL CHECK (isfinite(mean)),
    std DOUBLE NOT NULL CHECK (isfinite(std)),
    rms DOUBLE NOT NULL CHECK (isfinite(rms))
);
