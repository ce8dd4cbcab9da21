-- One file that the weights of a model set were read from.
CREATE TABLE weight_files (
    model_set_sha256 VARCHAR NOT NULL,
    component VARCHAR NOT NULL, -- pipeline, vision_language, clip, siglip or probe
    file VARCHAR NOT NULL, -- path in the component's folder
    bytes BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL, -- of the file's content
    PRIMARY KEY (model_set_sha256, component, file)
);

-- Which networks shared the device's memory in a run.
CREATE TABLE memory_plans (
    run_id VARCHAR PRIMARY KEY,
    residency VARCHAR NOT NULL, -- resident, vision_apart or staged
    needed_bytes BIGINT NOT NULL, -- what the plan was estimated to need
    budget_bytes BIGINT -- what it was given; NULL without a limit
);

-- The most memory that was allocated on the GPU during a stage of a run.
CREATE TABLE stage_memory (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    peak_bytes BIGINT NOT NULL,
    PRIMARY KEY (run_id, stage)
);

-- With how many images at once a cell's image was drawn: more or fewer may round differently.
CREATE TABLE cell_batches (
    cell_id VARCHAR PRIMARY KEY,
    run_id VARCHAR NOT NULL,
    batch_size INTEGER NOT NULL
);
