//! What a person sees while a scenario runs, on standard error: one moving line on a terminal, a line a second
//! elsewhere. Results are not printed here.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The line that moves.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For a run of `seconds`.
    pub(crate) fn new(seconds: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(seconds);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos:>3}/{len} s  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    /// Says how things are after `elapsed`.
    pub(crate) fn tell(&self, elapsed: Duration, line: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(line);
            }
            None => eprintln!("{:>4} s  {line}", elapsed.as_secs()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
