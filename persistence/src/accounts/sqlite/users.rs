//! Users, their passwords, and the wrong ones.

use super::{
    super::{Account, Accounts, AddError, Backoff, Change, ChangeError, FORGOTTEN_AFTER, MOST_UNKNOWN_NAMES, PasswordHash, Standing},
    SqliteAccounts, failed, next_serial, sessions,
};
use futures_util::FutureExt as _;
use gavel_domain::time::Timestamp;
use gavel_engine::ports::{PortFuture, StorageError};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

impl Accounts for SqliteAccounts {
    fn add(&self, account: Account) -> PortFuture<(), AddError> {
        let this = self.clone();
        async move {
            match this.insert(account).await.map_err(failed("adding a user"))? {
                true => Ok(()),
                false => Err(AddError::Exists),
            }
        }
        .boxed()
    }

    fn change(&self, name: String, change: Change) -> PortFuture<(), ChangeError> {
        let this = self.clone();
        async move {
            match this.update(&name, change).await.map_err(failed("changing a user"))? {
                true => Ok(()),
                false => Err(ChangeError::NoSuchUser),
            }
        }
        .boxed()
    }

    fn list(&self) -> PortFuture<Vec<Account>, StorageError> {
        let readers = self.readers.clone();
        async move {
            let rows = sqlx::query("SELECT name, role, password, disabled, created_at FROM users ORDER BY name").fetch_all(&readers).await;
            rows.and_then(|rows| rows.iter().map(read_account).collect()).map_err(failed("listing users"))
        }
        .boxed()
    }

    fn standing(&self, name: String) -> PortFuture<Standing, StorageError> {
        let this = self.clone();
        async move { this.read_standing(&name).await.map_err(failed("reading a user")) }.boxed()
    }

    fn failed(&self, name: String, at: Timestamp, backoff: Backoff) -> PortFuture<Timestamp, StorageError> {
        let this = self.clone();
        async move { this.count_failure(&name, at, backoff).await.map_err(failed("counting a wrong password")) }.boxed()
    }
}

impl SqliteAccounts {
    /// False: the name is taken.
    async fn insert(&self, account: Account) -> Result<bool, sqlx::Error> {
        let Account { name, role, password, disabled, created_at } = account;
        let mut transaction = self.begin().await?;
        // Tokens made for the name without an account must not get in either.
        let changed = if disabled { next_serial(&mut transaction).await?.0 } else { 0 };
        let inserted =
            sqlx::query("INSERT OR IGNORE INTO users (name, role, password, disabled, created_at, changed) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(name)
                .bind(role)
                .bind(password.0)
                .bind(disabled)
                .bind(created_at.as_millis())
                .bind(changed)
                .execute(&mut *transaction)
                .await?;
        transaction.commit().await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// False: there is no such user.
    async fn update(&self, name: &str, change: Change) -> Result<bool, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let (query, ends_sessions) = match change {
            Change::Role(role) => (sqlx::query("UPDATE users SET role = ? WHERE name = ?").bind(role), true),
            Change::Password(PasswordHash(hash)) => {
                sqlx::query("DELETE FROM attempts WHERE name = ?").bind(name).execute(&mut *transaction).await?;
                (sqlx::query("UPDATE users SET password = ? WHERE name = ?").bind(hash), true)
            }
            Change::Disabled(disabled) => {
                let serial = next_serial(&mut transaction).await?;
                (sqlx::query("UPDATE users SET disabled = ?, changed = ? WHERE name = ?").bind(disabled).bind(serial.0), disabled)
            }
        };
        if query.bind(name).execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        if ends_sessions {
            sessions::revoke_all(&mut transaction, name).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn read_standing(&self, name: &str) -> Result<Standing, sqlx::Error> {
        let mut transaction = self.readers.begin().await?;
        let account = sqlx::query("SELECT name, role, password, disabled, created_at FROM users WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?;
        let attempts: Option<(u32, i64)> = sqlx::query_as("SELECT failures, locked_until FROM attempts WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let (failures, locked_until) = attempts.unwrap_or_default();
        Ok(Standing {
            account: account.as_ref().map(read_account).transpose()?,
            failures,
            locked_until: Timestamp::from_millis(locked_until),
        })
    }

    async fn count_failure(&self, name: &str, at: Timestamp, backoff: Backoff) -> Result<Timestamp, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let known: Option<(u32, i64)> =
            sqlx::query_as("SELECT failures, last_at FROM attempts WHERE name = ?").bind(name).fetch_optional(&mut *transaction).await?;
        let in_a_row =
            known.filter(|(_, last_at)| at.since(Timestamp::from_millis(*last_at)) < FORGOTTEN_AFTER).map_or(0, |(count, _)| count);
        let failures = in_a_row.saturating_add(1);
        let locked_until = at.plus(backoff.after_failures(failures));
        sqlx::query("INSERT OR REPLACE INTO attempts (name, failures, last_at, locked_until) VALUES (?, ?, ?, ?)")
            .bind(name)
            .bind(failures)
            .bind(at.as_millis())
            .bind(locked_until.as_millis())
            .execute(&mut *transaction)
            .await?;
        if known.is_none() {
            forget_unknown_names(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(locked_until)
    }
}

/// Keeps what invented names can fill bounded, without forgetting what users' own names are locked out for.
async fn forget_unknown_names(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM attempts WHERE (SELECT count(*) FROM attempts) > ?1 AND name IN
             (SELECT name FROM attempts a WHERE NOT EXISTS (SELECT 1 FROM users WHERE users.name = a.name) ORDER BY last_at LIMIT 100)",
    )
    .bind(MOST_UNKNOWN_NAMES)
    .execute(conn)
    .await?;
    Ok(())
}

fn read_account(row: &SqliteRow) -> Result<Account, sqlx::Error> {
    Ok(Account {
        name: row.try_get(0)?,
        role: row.try_get(1)?,
        password: PasswordHash(row.try_get(2)?),
        disabled: row.try_get(3)?,
        created_at: Timestamp::from_millis(row.try_get(4)?),
    })
}
