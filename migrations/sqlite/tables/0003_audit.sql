-- What administrators and auctioneers did: a chain a shard, each row's hash over its own columns and the
-- hash before. Nobody changes it.
CREATE TABLE audit (
    shard    INTEGER NOT NULL,
    -- Counts from 1 in the shard, none is left out.
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    -- What it was done to: a lot, or a bidder's wallet.
    lot      BLOB,
    bidder   TEXT,
    -- The event that came of it: its place in the lot, or in the wallet.
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    -- The rest, as a JSON object.
    details  TEXT    NOT NULL,
    previous BLOB    NOT NULL,
    hash     BLOB    NOT NULL,
    PRIMARY KEY (shard, number),
    CHECK ((lot IS NULL) <> (bidder IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_in_order ON audit (at, shard, number);
CREATE INDEX audit_by_lot ON audit (lot, at, shard, number) WHERE lot IS NOT NULL;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
-- INSERT OR REPLACE asks no other trigger.
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE shard = new.shard AND number = new.number)
    BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;

-- Where each chain ends: rows that are missing at an end would not be noticed otherwise.
CREATE TABLE audit_ends (
    shard  INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    hash   BLOB    NOT NULL
) STRICT;
