//! A certificate for a server that speaks TLS: `cert.pem` and `key.pem` in its directory.

use std::{path::Path, process::Command};

/// Signed by itself, and no authority for others: whoever trusts it trusts this server alone.
pub(crate) fn make_certificate(dir: &Path) {
    let config = "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n[name]\nCN = localhost\n\
                  [extensions]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:127.0.0.1, DNS:localhost\n";
    std::fs::write(dir.join("openssl.cnf"), config).expect("its configuration");
    let arguments =
        "req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem";
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split_whitespace()).current_dir(dir).output().expect("openssl (Debian's package openssl) runs");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
