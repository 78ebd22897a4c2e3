-- accounts.db: who may log in, and who is logged in. No auctions here: it shares nothing with the other files.

-- One row. `changes` counts what a running server must hear of: revoked sessions, users disabled or enabled.
CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    changes  INTEGER NOT NULL
) STRICT;
INSERT INTO meta (only_row, changes) VALUES (1, 0);

CREATE TABLE users (
    name       TEXT    PRIMARY KEY,
    role       TEXT    NOT NULL,
    -- In PHC form; it names its own parameters.
    password   TEXT    NOT NULL,
    disabled   INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    -- Number of the change that last moved `disabled`; 0: none did.
    changed    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX users_changed ON users (changed) WHERE changed > 0;

-- Wrong passwords by the name that was tried, whether there is such a user or not: who is told apart by being locked out
-- would be told apart.
CREATE TABLE attempts (
    name         TEXT    PRIMARY KEY,
    failures     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    locked_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_age ON attempts (last_at);

-- A session is a family of refresh tokens, of which one is good. Tokens are kept as digests only.
CREATE TABLE sessions (
    id           BLOB    PRIMARY KEY,
    user         TEXT    NOT NULL,
    -- What all tokens of the family share.
    family       BLOB    NOT NULL UNIQUE,
    -- What only the newest has.
    secret       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    -- When the last of its access tokens expires: a revocation is remembered until then.
    access_until INTEGER NOT NULL,
    address      TEXT,
    user_agent   TEXT,
    -- Number of the change that revoked it; null while it is good.
    revoked      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user, last_used_at);
CREATE INDEX sessions_revoked ON sessions (revoked) WHERE revoked IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
