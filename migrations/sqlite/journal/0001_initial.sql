-- journal.db: the journal of every shard, and the snapshots.

-- One row. `data_id` is the same in journal.db and tables.db: they belong together.
CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    data_id  TEXT    NOT NULL,
    shards   INTEGER NOT NULL,
    -- Counts starts and probes; written to see whether writing works.
    writes   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Rows lie in the order in which they were appended, so an append writes the table's last page and
-- one page of the index, whatever the number of shards.
CREATE TABLE batches (
    place    INTEGER PRIMARY KEY,
    shard    INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    previous BLOB    NOT NULL,
    hash     BLOB    NOT NULL,
    bytes    BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX batches_in_order ON batches (shard, epoch, number);

-- Compare-and-append is the store's own law, whoever writes: a row that does not follow the last
-- one of its shard is not inserted (and the others of the same transaction are).
CREATE TRIGGER batches_follow BEFORE INSERT ON batches
WHEN coalesce(
    (SELECT hash = NEW.previous AND (epoch, number) < (NEW.epoch, NEW.number)
     FROM batches WHERE shard = NEW.shard ORDER BY epoch DESC, number DESC LIMIT 1),
    NEW.previous = zeroblob(32)
) IS NOT TRUE
BEGIN
    SELECT raise(IGNORE);
END;

-- Batches that were moved out of a stream by hand or by recovery; kept for people.
CREATE TABLE set_aside (
    at       INTEGER NOT NULL,
    shard    INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    previous BLOB    NOT NULL,
    hash     BLOB    NOT NULL,
    bytes    BLOB    NOT NULL
) STRICT;

-- Entities as saved. A save writes its rows under the next `save` number, in several transactions,
-- and then moves the marker: rows above the marker's number do not exist yet, rows below a newer
-- one of the same entity do not exist any more. `bytes` is null where the entity was removed.
CREATE TABLE snapshots (
    shard  INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    id     BLOB    NOT NULL,
    save   INTEGER NOT NULL,
    bytes  BLOB,
    PRIMARY KEY (shard, kind, id, save)
) STRICT;

CREATE TABLE markers (
    shard  INTEGER PRIMARY KEY,
    save   INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash   BLOB    NOT NULL
) STRICT;
