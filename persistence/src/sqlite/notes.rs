//! What a data directory says of stores that are elsewhere: two small files, a line each.
//!
//! `journal.redis`: the journal is in Redis; the line is a random name of the directory, by which the
//! journal's store knows its owner. `tables.postgres`: the tables are in PostgreSQL; the line is the id
//! of their data.

use super::{
    lock::sync_dir,
    open::{OpenError, io_error},
};
use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

const JOURNAL: &str = "journal.redis";
const TABLES: &str = "tables.postgres";

/// The name in a directory's note on its journal; none: there is no note, or no directory. Changes nothing.
///
/// # Errors
/// It can't be read.
pub fn note(dir: &Path) -> Result<Option<String>, OpenError> {
    read(dir, JOURNAL)
}

/// The id in a directory's note on its tables; none as in [`note`].
///
/// # Errors
/// It can't be read.
pub fn tables_note(dir: &Path) -> Result<Option<String>, OpenError> {
    read(dir, TABLES)
}

/// The directory's random name; written down where it has none yet.
pub(super) fn name_of(dir: &Path, noted: &mut Option<String>) -> Result<String, OpenError> {
    if let Some(name) = noted {
        return Ok(name.clone());
    }
    let name = uuid::Uuid::new_v4().to_string();
    write(dir, JOURNAL, &name)?;
    *noted = Some(name.clone());
    Ok(name)
}

/// Says whose tables in PostgreSQL are this directory's.
pub(super) fn note_tables(dir: &Path, data_id: &str) -> Result<(), OpenError> {
    write(dir, TABLES, data_id)
}

fn read(dir: &Path, file: &str) -> Result<Option<String>, OpenError> {
    let path = dir.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path, &e)),
    }
}

fn write(dir: &Path, file: &str, line: &str) -> Result<(), OpenError> {
    let path = dir.join(file);
    let written = || {
        let mut file = File::create(&path)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        sync_dir(dir)
    };
    written().map_err(|e| io_error(path.clone(), &e))
}
