//! The tests' stand-in server on its own, on one thread: `cargo run --release --example stub -- 127.0.0.1:7000 KEYFILE`
//! writes its key and serves until it is stopped. Against it the load client's own limits can be measured.
#![allow(clippy::unwrap_used, reason = "a measuring aid may panic")]

#[path = "../tests/stub/mod.rs"]
mod stub;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(key)) = (args.next(), args.next()) else {
        eprintln!("usage: stub ADDRESS KEYFILE");
        std::process::exit(2);
    };
    std::fs::write(key, stub::KEY).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        stub::serve(listener, stub::Flaw::None).await;
    });
}
