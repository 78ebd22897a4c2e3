//! A child's output, line by line, so that a test can wait for one.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// What has been read so far; read on by a thread of its own until the child closes its end.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Starts reading.
    pub(crate) fn of(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = Arc::clone(&lines.shared);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                shared.0.lock().unwrap().lines.push(text);
                shared.1.notify_all();
                line.clear();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        lines
    }

    /// The first line that holds `needle`, waited for; none if the output ends, or time runs out, without it.
    pub(crate) fn wait_for(&self, needle: &str, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        let mut read = self.shared.0.lock().unwrap();
        loop {
            if let Some(line) = read.lines.iter().find(|line| line.contains(needle)) {
                return Some(line.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if read.ended || left.is_zero() {
                return None;
            }
            read = self.shared.1.wait_timeout(read, left).unwrap().0;
        }
    }

    /// Waits for the end of the output; whether it came.
    pub(crate) fn wait_for_end(&self, patience: Duration) -> bool {
        let read = self.shared.0.lock().unwrap();
        self.shared.1.wait_timeout_while(read, patience, |read| !read.ended).unwrap().0.ended
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        self.shared.0.lock().unwrap().lines.join("\n")
    }
}
