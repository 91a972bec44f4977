/**
 * The ledger's schema, one step a version; a ledger of an older version is brought up step by step.
 * Times are milliseconds since 1970; secrets are kept as SHA-256 only, but for those in `meta`, which the manager itself uses.
 */
export const migrations: string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE contexts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    added_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- Which context a name stands for now; jobs keep the context they were made with.
  CREATE TABLE context_names (name TEXT PRIMARY KEY, context TEXT NOT NULL REFERENCES contexts) STRICT, WITHOUT ROWID;

  CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    context TEXT NOT NULL REFERENCES contexts,
    function TEXT NOT NULL,
    options TEXT NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs,
    key TEXT NOT NULL,
    input TEXT NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX task_keys ON tasks (job, key);

  -- In the order in which they came, job by job; a task has at most one.
  CREATE TABLE results (
    job INTEGER NOT NULL REFERENCES jobs,
    cursor INTEGER NOT NULL,
    task INTEGER NOT NULL UNIQUE REFERENCES tasks,
    status TEXT NOT NULL,
    -- The value, or the error.
    body TEXT NOT NULL,
    worker TEXT NOT NULL,
    ms REAL NOT NULL,
    PRIMARY KEY (job, cursor)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE pilots (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    token_hash BLOB NOT NULL,
    job_id TEXT,
    created_at INTEGER NOT NULL,
    submitted_at INTEGER,
    registered_at INTEGER,
    -- How often the batch system had restarted the job when its token was last used; -1 before.
    restarts INTEGER NOT NULL DEFAULT -1,
    ended_at INTEGER,
    end_reason TEXT
  ) STRICT;
  CREATE INDEX live_pilots ON pilots (site) WHERE ended_at IS NULL;

  CREATE TABLE workers (
    id INTEGER PRIMARY KEY,
    pilot INTEGER NOT NULL REFERENCES pilots,
    session_hash BLOB NOT NULL,
    info TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    -- Set when it left, or was replaced by a later start of its pilot: its session is void.
    ended_at INTEGER
  ) STRICT;
  CREATE INDEX live_workers ON workers (pilot) WHERE ended_at IS NULL;
  `,
  `
  -- The end of what a task printed, for those that did.
  CREATE TABLE logs (task INTEGER PRIMARY KEY REFERENCES tasks, log TEXT NOT NULL) STRICT;
  `,
  `
  -- The blobs that an input or a value refers to, as JSON; null for none.
  ALTER TABLE tasks ADD COLUMN blobs TEXT;
  ALTER TABLE results ADD COLUMN blobs TEXT;
  -- What keeps a blob.
  CREATE TABLE job_blobs (
    job INTEGER NOT NULL REFERENCES jobs,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (job, sha256)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX blob_jobs ON job_blobs (sha256);
  `,
  `
  -- How long a context stays that no job needs; null for ever.
  ALTER TABLE contexts ADD COLUMN keep_ms INTEGER;
  `,
  `
  -- How many of its failed tasks were run again.
  ALTER TABLE jobs ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
  `,
  `
  -- One mark for each start of a manager. A copy that is put in the ledger's place lacks those of later starts, and a backup that
  -- of the start in which it was made: so what clients heard from another ledger is known as such.
  CREATE TABLE epochs (number INTEGER PRIMARY KEY, mark TEXT NOT NULL) STRICT;
  -- Changes when results of the job are taken back: then cursors from before are void.
  ALTER TABLE jobs ADD COLUMN mark TEXT NOT NULL DEFAULT '';
  `,
  `
  -- 1 if the key is the text of a number, 0 if not; null in tasks from before inputs kept the texts of their numbers.
  ALTER TABLE tasks ADD COLUMN numeric INTEGER;
  `,
  `
  -- What happened, in the order in which it came; the oldest are thinned out. A number is never used twice.
  CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    job INTEGER,
    site TEXT,
    body TEXT NOT NULL
  ) STRICT;
  CREATE INDEX job_events ON events (job) WHERE job IS NOT NULL;
  CREATE INDEX site_events ON events (site) WHERE site IS NOT NULL;
  `,
  `
  -- Keys of the OpenAI API. One that was revoked stays, so that its number and its name are not given again.
  CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL,
    -- The models that it may use, as JSON; null for all.
    models TEXT,
    read_only INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
  ) STRICT;
  `,
  `
  -- The trace of the job, as a traceparent with the job's own span; and the span of the client that asked for it, if it had one.
  ALTER TABLE jobs ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';
  ALTER TABLE jobs ADD COLUMN parent_span TEXT;
  UPDATE jobs SET traceparent = '00-' || lower(hex(randomblob(16))) || '-' || lower(hex(randomblob(8))) || '-01';
  `,
]
