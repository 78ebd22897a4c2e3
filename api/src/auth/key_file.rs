//! The key file: made once, read by whoever holds the data directory. Nothing about tokens.
//!
//! For HS256 the secret is the file's text without surrounding white space, as raw bytes: what is made here is 32 random
//! bytes in base64url, and the 43 characters themselves are the secret, not what they decode to. So any text of 32 bytes or
//! more can be put there by hand, and another program needs only to read the file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The shortest HS256 secret taken, in bytes (RFC 7518, section 3.2: as long as the hash).
pub const MIN_SECRET_BYTES: usize = 32;

/// No key, or not one that should be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("cannot read key file {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new key can't be written.
    #[error("cannot make key file {path}: {source}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("key file {path} has mode {mode:04o}: group or others may use it; `chmod 600` it", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An HS256 secret too short to be one.
    #[error("key file {path} holds {length} bytes: an HS256 secret has {MIN_SECRET_BYTES} or more", path = path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// Bytes without surrounding white space.
        length: usize,
    },
    /// Not a PEM key of the algorithm configured.
    #[error("key file {path}: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was expected.
        reason: &'static str,
    },
}

/// The bytes of an existing file that only its owner may use; a public key may be read by all.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    read_unless_exposed(path, is_public)
}

/// Leaves alone who may read the file where `may_be_exposed` says so of its contents.
fn read_unless_exposed(path: &Path, may_be_exposed: fn(&[u8]) -> bool) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_path_buf(), source };
    let mut file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that what was checked is what is read.
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 && !may_be_exposed(&bytes) {
        return Err(KeyError::Exposed { path: path.to_path_buf(), mode });
    }
    Ok(bytes)
}

pub(super) fn is_public(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("PUBLIC KEY-----") && !text.contains("PRIVATE KEY-----")
}

/// Whether a text is a key in PEM. As an HS256 secret it would be a mistake: one meant for another algorithm, and public
/// perhaps.
#[must_use]
pub fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// The HS256 secret of an existing file, which is never anybody else's to read.
pub(super) fn read_secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    let bytes = read_unless_exposed(path, |_| false)?;
    if is_pem(&String::from_utf8_lossy(&bytes)) {
        let reason = "holds a key in PEM, which is no HS256 secret: set auth.algorithm to the key's";
        return Err(KeyError::Unusable { path: path.to_path_buf(), reason });
    }
    let secret = bytes.trim_ascii();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeyError::Short { path: path.to_path_buf(), length: secret.len() });
    }
    Ok(secret.to_vec())
}

/// The HS256 secret of the file, which is made if there is none. However many processes do this at once, all get the same.
pub(super) fn read_or_create_secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    match read_secret(path) {
        Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(|source| KeyError::Create { path: path.to_path_buf(), source })?;
            read_secret(path)
        }
        other => other,
    }
}

/// Leaves a complete key file behind, ours or that of whoever was quicker.
fn create(path: &Path) -> io::Result<()> {
    let mut urandom = File::open("/dev/urandom")?;
    let mut random = |bytes: usize| -> io::Result<String> {
        let mut buffer = vec![0; bytes];
        urandom.read_exact(&mut buffer)?;
        Ok(URL_SAFE_NO_PAD.encode(buffer))
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    // A process id would not do: two containers that share the directory may both be number 1.
    let draft = dir.join(format!(".jwt.key.{}", random(12)?));
    let written = write_draft(&draft, &random(MIN_SECRET_BYTES)?).and_then(|()| match fs::hard_link(&draft, path) {
        // A link, unlike a rename, never replaces a key that tokens were already made with.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&draft);
    written.and(removed)?;
    File::open(dir)?.sync_all()
}

fn write_draft(draft: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    // The umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    #[test]
    fn a_new_key_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/too/jwt.key");
        let secret = read_or_create_secret(&path).unwrap();
        assert_eq!(secret.len(), 43);
        assert_eq!(URL_SAFE_NO_PAD.decode(&secret).unwrap().len(), 32);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_create_secret(&path).unwrap(), secret);
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "no draft is left");
        assert_ne!(read_or_create_secret(&dir.path().join("other")).unwrap(), secret);
    }

    #[test]
    fn a_pem_key_is_no_hs256_secret_and_no_secret_may_be_read_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let body = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        for (kind, mode) in [("PUBLIC", 0o644), ("PUBLIC", 0o600), ("PRIVATE", 0o600)] {
            fs::write(&path, format!("-----BEGIN {kind} KEY-----\n{body}\n-----END {kind} KEY-----\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_secret(&path).expect_err("a PEM").to_string();
            assert!(error.contains(if mode == 0o600 { "PEM" } else { "0644" }), "{error}");
        }
        fs::write(&path, "a public text that says PUBLIC KEY----- but is a secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_secret(&path), Err(KeyError::Exposed { .. })));
    }

    #[test]
    fn creators_at_once_get_one_key() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = Arc::new(dir.path().join("jwt.key"));
            let start = Arc::new(Barrier::new(8));
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (path, start) = (path.clone(), start.clone());
                    std::thread::spawn(move || {
                        start.wait();
                        read_or_create_secret(&path).unwrap()
                    })
                })
                .collect();
            let secrets: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        }
    }

    #[test]
    fn what_should_not_be_used_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        for (text, mode, expected) in [
            ("0123456789abcdef0123456789abcdef\n", 0o600, ""),
            ("  0123456789abcdef0123456789abcdef \r\n", 0o400, ""),
            ("0123456789abcdef0123456789abcdef", 0o640, "has mode 0640: group or others may use it; `chmod 600` it"),
            ("0123456789abcdef0123456789abcdef", 0o604, "has mode 0604"),
            ("0123456789abcdef0123456789abcde \n", 0o600, "holds 31 bytes: an HS256 secret has 32 or more"),
            ("", 0o600, "holds 0 bytes"),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match read_or_create_secret(&path) {
                Ok(secret) => assert_eq!((expected, secret.as_slice()), ("", text.trim().as_bytes())),
                Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}"),
            }
        }
        let error = read_or_create_secret(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read key file"), "{error}");
    }
}
