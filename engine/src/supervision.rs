//! No task of the engine dies in silence: whoever starts one learns of its panic and closes what
//! depended on it.

use futures_util::FutureExt as _;
use std::{any::Any, panic::AssertUnwindSafe};

/// Runs a task to its end; the words of its panic, if that is how it ended.
pub(crate) async fn watched<T>(task: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| words(panic.as_ref()))
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a panic: {}", text.unwrap_or("without words"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_in_its_words() {
        assert_eq!(watched(async { 1 }).await, Ok(1));
        let panics = |n: i32| async move {
            if n > 0 {
                panic!("number {n}")
            }
        };
        assert_eq!(watched(panics(7)).await, Err("a panic: number 7".to_owned()));
    }
}
