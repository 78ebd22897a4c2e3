//! Sessions: begun, refreshed, revoked, and what running servers must hear of them.

use super::{
    super::{Changes, NewSession, Opening, PasswordHash, Rotated, Rotation, Serial, Session, SessionId, Sessions, TokenDigest},
    SqliteAccounts, failed, next_serial,
};
use futures_util::FutureExt as _;
use gavel_domain::time::{Millis, Timestamp};
use gavel_engine::ports::{PortFuture, StorageError};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

impl Sessions for SqliteAccounts {
    fn open(&self, new: NewSession) -> PortFuture<Opening, StorageError> {
        let this = self.clone();
        async move { this.insert_session(new).await.map_err(failed("beginning a session")) }.boxed()
    }

    fn rotate(&self, rotation: Rotation, address: Option<String>) -> PortFuture<Rotated, StorageError> {
        let this = self.clone();
        async move { this.replace_secret(rotation, address).await.map_err(failed("refreshing a session")) }.boxed()
    }

    fn close(&self, family: TokenDigest) -> PortFuture<(), StorageError> {
        let this = self.clone();
        async move { this.end_family(family).await.map_err(failed("ending a session")) }.boxed()
    }

    fn revoke(&self, session: SessionId, user: Option<String>, at: Timestamp) -> PortFuture<bool, StorageError> {
        let this = self.clone();
        async move { this.end_session(session, user, at).await.map_err(failed("revoking a session")) }.boxed()
    }

    fn of(&self, user: String, at: Timestamp) -> PortFuture<Vec<Session>, StorageError> {
        let readers = self.readers.clone();
        async move {
            let rows = sqlx::query(
                "SELECT id, user, created_at, last_used_at, expires_at, address, user_agent FROM sessions
                 WHERE user = ? AND revoked IS NULL AND expires_at > ? ORDER BY last_used_at DESC, id",
            )
            .bind(user)
            .bind(at.as_millis())
            .fetch_all(&readers)
            .await;
            rows.and_then(|rows| rows.iter().map(read_session).collect()).map_err(failed("listing sessions"))
        }
        .boxed()
    }

    fn count(&self, at: Timestamp) -> PortFuture<u64, StorageError> {
        let readers = self.readers.clone();
        async move {
            let count: Result<i64, _> = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE revoked IS NULL AND expires_at > ?")
                .bind(at.as_millis())
                .fetch_one(&readers)
                .await;
            count.map(|count| u64::try_from(count).unwrap_or(0)).map_err(failed("counting sessions"))
        }
        .boxed()
    }

    fn serial(&self) -> PortFuture<Serial, StorageError> {
        let readers = self.readers.clone();
        async move {
            let serial = sqlx::query_scalar("SELECT changes FROM meta").fetch_one(&readers).await;
            serial.map(Serial).map_err(failed("looking for changes"))
        }
        .boxed()
    }

    fn changes(&self, since: Serial, at: Timestamp) -> PortFuture<Changes, StorageError> {
        let this = self.clone();
        async move { this.read_changes(since, at).await.map_err(failed("reading changes")) }.boxed()
    }

    fn purge(&self, before: Timestamp) -> PortFuture<(), StorageError> {
        let this = self.clone();
        async move { this.forget(before).await.map_err(failed("forgetting ended sessions")) }.boxed()
    }
}

impl SqliteAccounts {
    async fn insert_session(&self, new: NewSession) -> Result<Opening, sqlx::Error> {
        let NewSession { session, access_until, family, secret, verified, rehashed, most } = new;
        let mut transaction = self.begin().await?;
        let user: Option<(String, String, bool)> = sqlx::query_as("SELECT role, password, disabled FROM users WHERE name = ?")
            .bind(&session.user)
            .fetch_optional(&mut *transaction)
            .await?;
        // The password was checked a moment ago, and not in this transaction.
        let Some((role, ..)) = user.filter(|(_, password, disabled)| *password == verified.0 && !disabled) else {
            return Ok(Opening::Refused);
        };
        if let Some(PasswordHash(hash)) = rehashed {
            sqlx::query("UPDATE users SET password = ? WHERE name = ?").bind(hash).bind(&session.user).execute(&mut *transaction).await?;
        }
        sqlx::query("DELETE FROM attempts WHERE name = ?").bind(&session.user).execute(&mut *transaction).await?;
        make_room(&mut transaction, &session.user, session.created_at, most.saturating_sub(1)).await?;
        sqlx::query(
            "INSERT INTO sessions (id, user, family, secret, created_at, last_used_at, expires_at, access_until, address, user_agent)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(bytes_of(session.id))
        .bind(session.user)
        .bind(family.0.to_vec())
        .bind(secret.0.to_vec())
        .bind(session.created_at.as_millis())
        .bind(session.last_used_at.as_millis())
        .bind(session.expires_at.as_millis())
        .bind(access_until.as_millis())
        .bind(session.address)
        .bind(session.user_agent)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Opening::Opened { role })
    }

    async fn replace_secret(&self, rotation: Rotation, address: Option<String>) -> Result<Rotated, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "SELECT sessions.id, secret, user, users.role FROM sessions JOIN users ON users.name = sessions.user
             WHERE family = ? AND revoked IS NULL AND expires_at > ? AND NOT users.disabled",
        )
        .bind(rotation.family.0.to_vec())
        .bind(rotation.at.as_millis())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(Rotated::Unknown) };
        let (id, secret): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let (user, role) = (row.try_get(2)?, row.try_get(3)?);
        // Digests of 256 random bits: how far two agree tells nobody anything.
        if secret != rotation.secret.0 {
            let serial = next_serial(&mut transaction).await?;
            sqlx::query("UPDATE sessions SET revoked = ? WHERE id = ?").bind(serial.0).bind(id).execute(&mut *transaction).await?;
            transaction.commit().await?;
            return Ok(Rotated::Reused);
        }
        let session = session_id(&id)?;
        sqlx::query(
            "UPDATE sessions SET secret = ?, last_used_at = max(last_used_at, ?), expires_at = ?, access_until = max(access_until, ?),
                 address = coalesce(?, address) WHERE id = ?",
        )
        .bind(rotation.next.0.to_vec())
        .bind(rotation.at.as_millis())
        .bind(rotation.expires_at.as_millis())
        .bind(rotation.access_until.as_millis())
        .bind(address)
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Rotated::Done { session, user, role })
    }

    async fn end_family(&self, family: TokenDigest) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        let serial = next_serial(&mut transaction).await?;
        let ended = sqlx::query("UPDATE sessions SET revoked = ? WHERE family = ? AND revoked IS NULL")
            .bind(serial.0)
            .bind(family.0.to_vec())
            .execute(&mut *transaction)
            .await?;
        // Not committed where nothing was ended: logging out again and again writes nothing.
        if ended.rows_affected() > 0 { transaction.commit().await } else { transaction.rollback().await }
    }

    async fn end_session(&self, session: SessionId, user: Option<String>, at: Timestamp) -> Result<bool, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let serial = next_serial(&mut transaction).await?;
        let ended = sqlx::query(
            "UPDATE sessions SET revoked = ?1 WHERE id = ?2 AND revoked IS NULL AND expires_at > ?3 AND user = coalesce(?4, user)",
        )
        .bind(serial.0)
        .bind(bytes_of(session))
        .bind(at.as_millis())
        .bind(user)
        .execute(&mut *transaction)
        .await?;
        let was_good = ended.rows_affected() > 0;
        if was_good {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(was_good)
    }

    async fn read_changes(&self, since: Serial, at: Timestamp) -> Result<Changes, sqlx::Error> {
        // One transaction: all three as of the same moment.
        let mut transaction = self.readers.begin().await?;
        let serial = sqlx::query_scalar("SELECT changes FROM meta").fetch_one(&mut *transaction).await?;
        let revoked: Vec<(Vec<u8>, i64)> = sqlx::query_as("SELECT id, access_until FROM sessions WHERE revoked > ? AND access_until >= ?")
            .bind(since.0)
            .bind(at.as_millis())
            .fetch_all(&mut *transaction)
            .await?;
        let disabled =
            sqlx::query_as("SELECT name, disabled FROM users WHERE changed > max(?, 0)").bind(since.0).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        let revoked = revoked.iter().map(|(id, until)| Ok((session_id(id)?, Timestamp::from_millis(*until))));
        Ok(Changes { serial: Serial(serial), revoked: revoked.collect::<Result<_, sqlx::Error>>()?, disabled })
    }

    async fn forget(&self, before: Timestamp) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM sessions WHERE access_until < ?1 AND (revoked IS NOT NULL OR expires_at < ?1)")
            .bind(before.as_millis())
            .execute(&mut *transaction)
            .await?;
        let day_before = Timestamp::from_millis(before.as_millis().saturating_sub(DAY_MILLIS));
        sqlx::query("DELETE FROM attempts WHERE last_at < ?1 AND locked_until < ?1")
            .bind(day_before.as_millis())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }
}

/// [`super::super::FORGOTTEN_AFTER`], as SQL counts.
const DAY_MILLIS: i64 = {
    let Millis(millis) = super::super::FORGOTTEN_AFTER;
    millis.cast_signed()
};

/// Revokes all of a user's sessions.
pub(super) async fn revoke_all(conn: &mut SqliteConnection, user: &str) -> Result<(), sqlx::Error> {
    let serial = next_serial(&mut *conn).await?;
    sqlx::query("UPDATE sessions SET revoked = ? WHERE user = ? AND revoked IS NULL").bind(serial.0).bind(user).execute(conn).await?;
    Ok(())
}

/// Revokes the longest unused of a user's sessions, so that `keep` are left.
async fn make_room(conn: &mut SqliteConnection, user: &str, at: Timestamp, keep: u32) -> Result<(), sqlx::Error> {
    let surplus: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT id FROM sessions WHERE user = ? AND revoked IS NULL AND expires_at > ? ORDER BY last_used_at DESC LIMIT -1 OFFSET ?",
    )
    .bind(user)
    .bind(at.as_millis())
    .bind(keep)
    .fetch_all(&mut *conn)
    .await?;
    if surplus.is_empty() {
        return Ok(());
    }
    let serial = next_serial(&mut *conn).await?;
    for id in surplus {
        sqlx::query("UPDATE sessions SET revoked = ? WHERE id = ?").bind(serial.0).bind(id).execute(&mut *conn).await?;
    }
    Ok(())
}

fn bytes_of(session: SessionId) -> Vec<u8> {
    session.0.as_bytes().to_vec()
}

fn session_id(bytes: &[u8]) -> Result<SessionId, sqlx::Error> {
    Uuid::from_slice(bytes).map(SessionId).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn read_session(row: &SqliteRow) -> Result<Session, sqlx::Error> {
    let time = |at| Timestamp::from_millis(at);
    Ok(Session {
        id: session_id(row.try_get(0)?)?,
        user: row.try_get(1)?,
        created_at: time(row.try_get(2)?),
        last_used_at: time(row.try_get(3)?),
        expires_at: time(row.try_get(4)?),
        address: row.try_get(5)?,
        user_agent: row.try_get(6)?,
    })
}
