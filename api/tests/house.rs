//! The house rules that a compiler does not check: who may depend on whom, and that every room says
//! what it is.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Lines above which a file is named.
const LONG: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{lib}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.replace('-', "_")).collect()
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let forbidden: [(&str, &[&str]); 6] = [
        ("gavel-domain", &["tokio", "actix", "sqlx", "redis", "rand", "getrandom", "gavel_engine", "tracing"]),
        ("gavel-engine", &["sqlx", "redis", "actix_web", "actix_http", "serde_json", "bincode", "gavel_persistence"]),
        ("gavel-persistence", &["actix_web", "actix_http", "gavel_test_servers"]),
        ("gavel", &["gavel_test_servers"]),
        ("gavel-test-servers", &["redis", "sqlx", "gavel_domain", "gavel_engine", "gavel_persistence"]),
        ("gavel-loadtest", &["gavel_engine", "gavel_persistence", "gavel_domain", "gavel"]),
    ];
    for (package, never) in forbidden {
        let found: Vec<String> = dependencies(package).into_iter().filter(|name| never.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} must not depend on {found:?}");
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50, "the sources were found");
    let mut silent = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if lines > LONG {
            println!("{lines} lines: {}", file.display());
        }
        if !text.starts_with("//!") {
            silent.push(file);
        }
    }
    assert!(silent.is_empty(), "these files don't open with `//!`: {silent:?}");
}
