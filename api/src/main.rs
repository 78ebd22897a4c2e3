//! The `gavel` binary: its allocator and its exit status. Everything else is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup(); // reads `FAILPOINTS`
    gavel::cli::run(std::env::args_os())
}
