-- The database of a results folder: the only declaration of its tables. Shard rows are checked against it.
-- `sequence` columns are filled from the header of the shard that a row stands in.
CREATE TYPE cell_status AS ENUM ('ok', 'failed');
CREATE TYPE score_status AS ENUM ('ok', 'failed', 'skipped', 'unscorable');
CREATE TYPE metric_direction AS ENUM ('lower', 'higher', 'none');
CREATE TYPE metric_role AS ENUM ('prompt', 'gain', 'artifact', 'drift', 'diagnostic');
CREATE TYPE vote_choice AS ENUM ('left', 'right', 'equal');
CREATE TYPE vote_question AS ENUM ('prompt', 'gain', 'artifact');
CREATE TYPE item_split AS ENUM ('', 'dev', 'test');

-- One call of `blendbench run`.
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    sequence BIGINT NOT NULL, -- order of runs in this folder; the latest is the greatest
    experiment VARCHAR NOT NULL CHECK (regexp_full_match(experiment, '[a-z0-9][a-z0-9_-]{0,99}')), -- names its pages
    started_at VARCHAR NOT NULL, -- ISO 8601, UTC; for people, never for order
    blendbench_version VARCHAR NOT NULL,
    git_commit VARCHAR,
    model_set VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL, -- hash of weights and settings; of imported images: of the baseline's images
    hidden_states INTEGER, -- of the vision-language model: its layers and the embedding
    blocks INTEGER, -- of the transformer's main stream
    trained_to_show JSON, -- losses that build a result into the models: what they train is no finding
    suite VARCHAR NOT NULL,
    suite_sha256 VARCHAR NOT NULL, -- hash of the frozen suite
    sampler JSON NOT NULL, -- resolved sigmas, size, number of steps
    sampler_sha256 VARCHAR NOT NULL,
    baseline VARCHAR NOT NULL, -- label that the experiment compares with
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    environment JSON NOT NULL, -- versions of what matters
    items JSON NOT NULL, -- items that were planned
    seeds JSON NOT NULL -- seeds that were planned
);

-- A configuration that a run planned, at the state of its code.
CREATE TABLE planned_configurations (
    run_id VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    source_sha256 VARCHAR NOT NULL,
    PRIMARY KEY (run_id, label)
);

-- A metric that a run planned, at its version and with the weights that judge.
CREATE TABLE planned_metrics (
    run_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    scorer_sha256 VARCHAR NOT NULL DEFAULT '', -- '' for a metric without a network
    PRIMARY KEY (run_id, metric)
);

-- A frozen suite, known by its hash.
CREATE TABLE suites (
    suite_sha256 VARCHAR PRIMARY KEY,
    suite VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    title VARCHAR NOT NULL,
    primaries JSON -- role -> the metric that a headline, a budget and the front use for it
);

-- One prompt of a suite with its reference image.
CREATE TABLE items (
    suite_sha256 VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    reference_sha256 VARCHAR NOT NULL,
    reference_caption VARCHAR NOT NULL,
    relation VARCHAR NOT NULL, -- how reference and prompt are related
    stratum VARCHAR NOT NULL DEFAULT '', -- group that bootstrap and split keep apart
    split item_split NOT NULL DEFAULT '', -- items to tune on, or to report; '' if the suite is not split
    expect JSON, -- what must be true of the output
    reference_expect JSON, -- what is true of the reference
    reference_image VARCHAR, -- path in the results folder
    reference_flags JSON, -- what was done to its pixels when it was loaded
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
    upper_bound BOOLEAN, -- trained on data: what others could reach, and no rival of theirs
    PRIMARY KEY (strategy, version, source_sha256)
);

-- A metric at one version, as its card says.
CREATE TABLE metrics (
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    title VARCHAR NOT NULL,
    role metric_role NOT NULL,
    direction metric_direction NOT NULL,
    unit VARCHAR NOT NULL,
    low DOUBLE, -- low..high is the range; NULL where it is open
    high DOUBLE,
    margin DOUBLE NOT NULL CHECK (isfinite(margin)), -- differences up to this count as none
    decimals INTEGER NOT NULL, -- digits that are shown
    paired BOOLEAN NOT NULL, -- measured on a cell's image and the baseline's
    threshold DOUBLE CHECK (isfinite(threshold)), -- from here on an image is flagged
    PRIMARY KEY (metric, metric_version),
    CHECK (isfinite(coalesce(low, 0)) AND isfinite(coalesce(high, 0)))
);

-- Configuration x item x seed: the unit of work. A cell may belong to several experiments.
CREATE TABLE cells (
    experiment VARCHAR NOT NULL,
    cell_id VARCHAR NOT NULL CHECK (regexp_full_match(cell_id, '[0-9a-f]{64}')), -- hash of all that sets the pixels
    run_id VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    source_sha256 VARCHAR NOT NULL DEFAULT '', -- hash of the strategy's code
    params JSON NOT NULL,
    label VARCHAR NOT NULL, -- strategy with the parameters that differ from its defaults
    family VARCHAR NOT NULL DEFAULT '', -- label without the dose: configurations that differ in nothing else
    dose DOUBLE CHECK (isfinite(dose)), -- how much of the image there is; NULL if the strategy has no such parameter
    control BOOLEAN NOT NULL, -- a strategy that every run contains
    item VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    split item_split NOT NULL DEFAULT '', -- items to tune on, or to report; '' if the suite is not split
    suite_sha256 VARCHAR NOT NULL,
    sampler_sha256 VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    environment_sha256 VARCHAR NOT NULL DEFAULT '', -- hash of library versions, device and batch
    status cell_status NOT NULL,
    error VARCHAR, -- why there is no image
    conditioning_sha256 VARCHAR CHECK (regexp_full_match(conditioning_sha256, '[0-9a-f]{64}')),
    image_sha256 VARCHAR CHECK (regexp_full_match(image_sha256, '[0-9a-f]{64}')), -- `images/<2 digits>/<sha256>.png`
    noise_seed UBIGINT, -- of the initial latents; equal for all strategies of an item and seed; NULL if it is not known
    tokens INTEGER, -- length of the conditioning
    image_tokens INTEGER, -- image tokens of the reference that its strategy read; NULL if it read none
    imported JSON, -- of an image that was made elsewhere: its file, that file's hash, and what was done to its pixels
    PRIMARY KEY (experiment, cell_id),
    CHECK ((status = 'ok') = (image_sha256 IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL))
);

-- One metric on one image. `image_sha256` is the image that was measured; keys hold '' where something has no part.
CREATE TABLE scores (
    cell_id VARCHAR NOT NULL CHECK (length(cell_id) = 64),
    metric VARCHAR NOT NULL,
    metric_version INTEGER NOT NULL,
    scorer_sha256 VARCHAR NOT NULL DEFAULT '', -- hash of the weights of the network that judged
    baseline_image_sha256 VARCHAR NOT NULL DEFAULT '', -- second image of a paired metric
    image_sha256 VARCHAR NOT NULL CHECK (length(image_sha256) = 64),
    value DOUBLE CHECK (abs(value) < 1e100), -- NULL unless status is ok; a failure is never 0
    status score_status NOT NULL,
    error VARCHAR, -- why there is no value
    CHECK ((status = 'ok') = (value IS NOT NULL))
);
-- A primary key would be an index over millions of rows that no query uses.
COMMENT ON TABLE scores IS 'cell_id, metric, metric_version, scorer_sha256, baseline_image_sha256';

-- Wall time of one stage of a run, and how many things it handled.
CREATE TABLE stage_times (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)),
    count BIGINT NOT NULL,
    PRIMARY KEY (run_id, stage)
);

-- The most memory that was allocated on the GPU during a stage of a run.
CREATE TABLE stage_memory (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    peak_bytes BIGINT NOT NULL,
    PRIMARY KEY (run_id, stage)
);

-- Which networks shared the device's memory in a run.
CREATE TABLE memory_plans (
    run_id VARCHAR PRIMARY KEY,
    residency VARCHAR NOT NULL, -- resident, vision_apart or staged
    needed_bytes BIGINT NOT NULL, -- what the plan was estimated to need
    budget_bytes BIGINT -- what it was given; NULL without a limit
);

-- One file that the weights of a model set were read from.
CREATE TABLE weight_files (
    model_set_sha256 VARCHAR NOT NULL,
    component VARCHAR NOT NULL, -- pipeline, vision_language, clip, siglip or probe
    file VARCHAR NOT NULL, -- path in the component's folder
    bytes BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL, -- of the file's content
    PRIMARY KEY (model_set_sha256, component, file)
);

-- How many images were generated at once with a cell's: more or fewer may round differently.
CREATE TABLE cell_batches (
    cell_id VARCHAR PRIMARY KEY,
    run_id VARCHAR NOT NULL,
    batch_size INTEGER NOT NULL
);

-- A cell that `blendbench run --repeat` generated again, in another order and with other cells in its batch: the two
-- hashes are equal if the image does not depend on these.
CREATE TABLE repeats (
    run_id VARCHAR NOT NULL, -- the run that generated it again
    cell_id VARCHAR NOT NULL CHECK (length(cell_id) = 64),
    image_sha256 VARCHAR NOT NULL CHECK (regexp_full_match(image_sha256, '[0-9a-f]{64}')), -- the image that it had
    again_sha256 VARCHAR CHECK (regexp_full_match(again_sha256, '[0-9a-f]{64}')), -- the new one, which is kept too
    batch_size INTEGER, -- images that were generated at once with the new one; its first batch is in `cell_batches`
    error VARCHAR, -- why there is no new image
    PRIMARY KEY (run_id, cell_id),
    CHECK ((again_sha256 IS NULL) = (error IS NOT NULL))
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

-- One analysis of hidden states by `blendbench embeddings`; written last, so that it says it is whole.
CREATE TABLE embedding_analyses (
    analysis_id VARCHAR PRIMARY KEY,
    sequence BIGINT NOT NULL, -- order of analyses in this folder
    started_at VARCHAR NOT NULL,
    blendbench_version VARCHAR NOT NULL,
    git_commit VARCHAR,
    model_set VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    suite_sha256 VARCHAR NOT NULL,
    items JSON NOT NULL,
    layers JSON NOT NULL,
    text_layer INTEGER NOT NULL, -- layer of the text encoder that conditionings are made from
    dim INTEGER NOT NULL,
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    environment JSON NOT NULL
);

-- A statistic of one kind of token at one layer ([embeddings.md](embeddings.md)).
CREATE TABLE embedding_values (
    analysis_id VARCHAR NOT NULL,
    layer INTEGER NOT NULL,
    tokens VARCHAR NOT NULL,
    position_0 BOOLEAN NOT NULL,
    reference VARCHAR NOT NULL, -- '' for the tokens by themselves, else the layer of the text encoder compared with
    statistic VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    low DOUBLE CHECK (isfinite(low)), -- low..high is a 95 % interval over items
    high DOUBLE CHECK (isfinite(high)),
    PRIMARY KEY (analysis_id, layer, tokens, position_0, reference, statistic)
);

-- The most outlying dimensions against a reference; with reference '' those with the largest second moments.
CREATE TABLE embedding_dimensions (
    analysis_id VARCHAR NOT NULL,
    layer INTEGER NOT NULL,
    tokens VARCHAR NOT NULL,
    position_0 BOOLEAN NOT NULL,
    reference VARCHAR NOT NULL,
    rank INTEGER NOT NULL,
    dimension INTEGER NOT NULL,
    mean DOUBLE NOT NULL CHECK (isfinite(mean)),
    std DOUBLE NOT NULL CHECK (isfinite(std)),
    share DOUBLE NOT NULL CHECK (isfinite(share)),
    reference_mean DOUBLE CHECK (isfinite(reference_mean)),
    reference_std DOUBLE CHECK (isfinite(reference_std)),
    reference_share DOUBLE CHECK (isfinite(reference_share)),
    ratio DOUBLE CHECK (isfinite(ratio)),
    PRIMARY KEY (analysis_id, layer, tokens, position_0, reference, dimension)
);

-- A file of embeddings that a cell was made from (`run --keep-embeddings`): `embeddings/<sha256>.safetensors`.
CREATE TABLE cell_embeddings (
    cell_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL, -- text, vision, neutral, other, ... or conditioning
    sha256 VARCHAR NOT NULL CHECK (regexp_full_match(sha256, '[0-9a-f]{64}')),
    layer INTEGER,
    image_sha256 VARCHAR,
    prompt VARCHAR,
    PRIMARY KEY (cell_id, stage, sha256)
);

-- One blind vote between two images of an item and seed, taken in by `blendbench gallery --votes`.
CREATE TABLE votes (
    vote_id VARCHAR PRIMARY KEY,
    experiment VARCHAR NOT NULL,
    question vote_question NOT NULL, -- a role of metrics
    voter VARCHAR NOT NULL,
    left_cell VARCHAR NOT NULL,
    right_cell VARCHAR NOT NULL,
    choice vote_choice NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)), -- how long the pair was looked at
    voted_at VARCHAR NOT NULL
);

-- A configuration that `blendbench forget` removed: what runs before it generated and planned is not in the tables.
CREATE TABLE forgotten (
    experiment VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    sequence BIGINT NOT NULL, -- order among the runs: a later run brings the configuration back
    images JSON NOT NULL, -- cell id -> its image, or null if it had none
    PRIMARY KEY (experiment, label)
);

-- One look at test items, which a later look has to pay for.
CREATE TABLE looks (
    look_id VARCHAR PRIMARY KEY,
    sequence BIGINT NOT NULL, -- order of looks in this folder
    experiment VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    baseline VARCHAR NOT NULL,
    split item_split NOT NULL,
    items INTEGER NOT NULL,
    looked_at VARCHAR NOT NULL
);

-- The files of `shards/` that the rows were made from, and what shows that they are unchanged.
CREATE TABLE shards (
    name VARCHAR PRIMARY KEY,
    sequence BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    times HUGEINT[] NOT NULL, -- size, times and inode; empty if the file was too fresh to trust its times
    sha256 VARCHAR NOT NULL,
    torn BOOLEAN NOT NULL -- ends in a line that was never finished, which is left out
);

-- Hash of the declarations that the database was made with: with another it is made anew from the shards.
CREATE TABLE schema_hash (sha256 VARCHAR NOT NULL);
