-- What people query, kept up behind the journal, and the archive of every batch. All in a schema of its
-- own, so that neither the search path nor other tables matter. Times are milliseconds since the Unix
-- epoch, amounts minor units of the lot's currency. Whoever runs this owns it; docs/decisions/0011
-- says what a role that only runs the server needs.

DO $$ BEGIN
    -- A role that may not create schemas may have been given this one.
    IF to_regnamespace('gavel') IS NULL THEN CREATE SCHEMA gavel; END IF;
END $$;

-- One row: which schema this is, and whose data. The first server that opens it writes the latter.
CREATE TABLE gavel.meta (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  integer NOT NULL,
    data_id  text,
    shards   integer,
    writes   bigint  NOT NULL DEFAULT 0,
    CHECK ((data_id IS NULL) = (shards IS NULL))
) WITH (fillfactor = 50);
INSERT INTO gavel.meta (version) VALUES (1);

CREATE TABLE gavel.lots (
    id          uuid    PRIMARY KEY,
    shard       integer NOT NULL,
    created_at  bigint  NOT NULL,
    status      text    NOT NULL,
    title       text    NOT NULL,
    currency    text    NOT NULL,
    epoch       bigint  NOT NULL,
    seq         bigint  NOT NULL,
    price       bigint,
    leader      text,
    bid_count   bigint  NOT NULL,
    minimum_bid bigint  NOT NULL,
    closes_at   bigint,
    -- Its rows in `events` lie between these, so that only the partitions of that time are looked at.
    first_at    bigint,
    last_at     bigint,
    -- All of the lot, encoded.
    view        bytea   NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX lots_in_order ON gavel.lots (created_at, id);
CREATE INDEX lots_by_status ON gavel.lots (status, created_at, id);

-- Accepted bids. Not partitioned: they are asked for by lot, and one index is the fastest to fill.
CREATE TABLE gavel.bids (
    lot         uuid    NOT NULL,
    seq         integer NOT NULL,
    epoch       bigint  NOT NULL,
    at          bigint  NOT NULL,
    bidder      text    NOT NULL,
    -- The lot's first four bytes, then 32 bits of a digest of lot and bidder: one integer to find a
    -- bidder's bids on a lot by, in the order in which lots are made.
    finger      bigint  NOT NULL,
    bid_id      uuid    NOT NULL,
    amount      bigint  NOT NULL,
    max         bigint  NOT NULL,
    price       bigint  NOT NULL,
    -- Who leads after it; null: its bidder.
    leader      text,
    bid_count   bigint  NOT NULL,
    minimum_bid bigint  NOT NULL,
    -- Null: there is no reserve.
    reserve_met boolean,
    deadline    bigint,
    closes_at   bigint,
    PRIMARY KEY (lot, seq)
);
CREATE INDEX bids_by_bidder ON gavel.bids (finger);

-- All other events of a lot, encoded. A partition a month (UTC), made by `make_month`.
CREATE TABLE gavel.events (
    lot    uuid   NOT NULL,
    seq    bigint NOT NULL,
    epoch  bigint NOT NULL,
    at     bigint NOT NULL,
    kind   text   NOT NULL,
    record bytea  NOT NULL,
    PRIMARY KEY (lot, seq, at)
) PARTITION BY RANGE (at);

-- Every batch that was ever projected, as it was journaled.
CREATE TABLE gavel.archive (
    shard    integer NOT NULL,
    epoch    bigint  NOT NULL,
    number   bigint  NOT NULL,
    previous bytea   NOT NULL,
    hash     bytea   NOT NULL,
    bytes    bytea   NOT NULL,
    PRIMARY KEY (shard, epoch, number)
);
-- Compressing it would be the projector's time.
ALTER TABLE gavel.archive ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- How far each shard is projected; moved by compare-and-set in the transaction of the rows.
CREATE TABLE gavel.cursors (
    shard  integer PRIMARY KEY,
    epoch  bigint NOT NULL,
    number bigint NOT NULL,
    hash   bytea  NOT NULL
) WITH (fillfactor = 50);

-- One line a change of a balance.
CREATE TABLE gavel.ledger (
    bidder    text   NOT NULL,
    -- The event's number in the wallet; events that change no balance have none here.
    seq       bigint NOT NULL,
    epoch     bigint NOT NULL,
    at        bigint NOT NULL,
    currency  text   NOT NULL,
    -- grant, deduction, capture, decay, cap
    kind      text   NOT NULL,
    amount    bigint NOT NULL,
    -- After it.
    balance   bigint NOT NULL,
    -- The lot that was won, and the bid that won it.
    lot       uuid,
    bid_id    uuid,
    reason    text   NOT NULL,
    -- Who did it.
    actor     text   NOT NULL,
    operation bytea  NOT NULL,
    digest    bytea  NOT NULL,
    PRIMARY KEY (bidder, seq)
);

CREATE TABLE gavel.wallets (
    bidder   text   NOT NULL,
    currency text   NOT NULL,
    balance  bigint NOT NULL,
    -- Of the line that made it.
    seq      bigint NOT NULL,
    PRIMARY KEY (bidder, currency)
) WITH (fillfactor = 70);

-- What administrators and auctioneers did: a chain a shard, each row's hash over its own columns and the
-- hash before.
CREATE TABLE gavel.audit (
    shard     integer NOT NULL,
    -- Counts from 1 in the shard, none is left out.
    number    bigint  NOT NULL,
    at        bigint  NOT NULL,
    actor     text    NOT NULL,
    action    text    NOT NULL,
    -- What it was done to: a lot, or a bidder's wallet.
    lot       uuid,
    bidder    text,
    -- The event that came of it: its place in the lot, or in the wallet.
    epoch     bigint  NOT NULL,
    seq       bigint  NOT NULL,
    -- The rest, as a JSON object.
    details   text    NOT NULL,
    previous  bytea   NOT NULL,
    hash      bytea   NOT NULL,
    PRIMARY KEY (shard, number, at),
    CHECK ((lot IS NULL) <> (bidder IS NULL))
) PARTITION BY RANGE (at);
CREATE INDEX audit_in_order ON gavel.audit (at, shard, number);
CREATE INDEX audit_by_lot ON gavel.audit (lot, at, shard, number) WHERE lot IS NOT NULL;

-- Where each chain ends: rows that are missing at an end would not be noticed otherwise.
CREATE TABLE gavel.audit_ends (
    shard  integer PRIMARY KEY,
    number bigint NOT NULL,
    hash   bytea  NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION gavel.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table %.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- Statement by statement: it costs an insert nothing, and sees TRUNCATE. Partitions get one each.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gavel.bids
    FOR EACH STATEMENT EXECUTE FUNCTION gavel.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gavel.events
    FOR EACH STATEMENT EXECUTE FUNCTION gavel.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gavel.archive
    FOR EACH STATEMENT EXECUTE FUNCTION gavel.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gavel.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION gavel.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gavel.audit
    FOR EACH STATEMENT EXECUTE FUNCTION gavel.refuse_change();

-- Makes the partitions of the month that a time lies in, where they are missing; gives the month's
-- bounds. As the owner, so that the server's role needs no right to make tables; its search path is
-- fixed for the same reason.
CREATE FUNCTION gavel.make_month(moment bigint, OUT first_moment bigint, OUT next_moment bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- By whole days, in exact numbers: a product of an interval is rounded.
    month  timestamp := date_trunc('month', (date '1970-01-01' + floor(moment::numeric / 86400000)::integer)::timestamp);
    parent text;
    part   text;
BEGIN
    first_moment := ((month::date - date '1970-01-01')::bigint) * 86400000;
    next_moment := (((month + interval '1 month')::date - date '1970-01-01')::bigint) * 86400000;
    -- One at a time, until its transaction ends: 0x676176656c706172.
    PERFORM pg_advisory_xact_lock(7449365436630589810);
    FOREACH parent IN ARRAY ARRAY['events', 'audit'] LOOP
        part := parent || to_char(month, '_YYYY_MM');
        CONTINUE WHEN to_regclass(format('gavel.%I', part)) IS NOT NULL;
        -- Made apart and attached: that keeps nobody from reading and writing the others.
        EXECUTE format('CREATE TABLE gavel.%I (LIKE gavel.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', part, parent);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON gavel.%I
            FOR EACH STATEMENT EXECUTE FUNCTION gavel.refuse_change()', part);
        EXECUTE format('ALTER TABLE gavel.%I ATTACH PARTITION gavel.%I FOR VALUES FROM (%s) TO (%s)',
            parent, part, first_moment, next_moment);
    END LOOP;
END $$;
