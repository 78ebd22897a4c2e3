//! Every bound of the engine's queues, and what happens at it. Bounds of sockets are configured.

/// Requests that wait for a lot or a wallet that is being rebuilt. Beyond: `overloaded`.
pub const REBUILD_QUEUE: usize = 10_000;

/// Bids of one lot that wait for their holds. Beyond: `overloaded`.
pub const ATTEMPTS: usize = 65_536;

/// Entries of one shard that are staged but not yet durable. Beyond: `overloaded`. (Checked as requests
/// are admitted: what one turn of the inbox holds may come on top.)
pub const STAGED_ENTRIES: usize = 65_536;

/// Outputs that one shard withholds behind them. Beyond: `overloaded`, reads too.
pub const STAGED_OUTPUTS: usize = 2 * STAGED_ENTRIES;

/// Entries after which a batch takes no further request: after a stall of the disk the next append
/// is one of ordinary size.
pub const BATCH_ENTRIES: usize = 4_096;

/// Bytes of committed batches that are kept in memory for the projector and for history reads, all
/// shards together, as encoded. Beyond: they are read back from the journal.
pub const BACKLOG_BYTES: usize = 32 << 20;

/// Spans of a tenth of a second that one shard's lag is told by; beyond, the last one grows.
pub const BACKLOG_SPANS: usize = 65_536;

/// Bytes of batches that the tables don't hold and that a starting shard keeps from its journal, as encoded.
/// Beyond: none, they are read again. All shards start at once.
pub const START_TAIL_BYTES: usize = 512 << 10;

/// Events that a projection takes at once, at least one batch.
pub const PROJECTION_EVENTS: usize = 4_000;

/// Bytes read from the journal at once.
pub const READ_BYTES: usize = 4 << 20;

/// Pictures of lots that the projector remembers. Beyond: they are read from the tables again.
pub const PROJECTED_VIEWS: usize = 50_000;

/// Events on their way to one worker's sessions. Beyond: that worker's watchers are told to resync.
/// Replies need no bound of their own: each answers a request, and those are bounded per socket.
pub const WORKER_EVENTS: usize = 262_144;

/// Workers that can be attached (one bit each in a lot's set of watchers).
pub const WORKERS: usize = 64;
