//! Waiting for what will happen, without saying how soon.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longest that anything is waited for, unless the caller says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks again and again until the answer is `Some`, for [`PATIENCE`] at most.
///
/// # Errors
/// What was waited for, with the last error of the question, if it never came.
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(PATIENCE, what, ask).await
}

/// As [`until`], for the time given.
///
/// # Errors
/// What was waited for, with the last error of the question, if it never came.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let answer = ask().await;
        if let Ok(Some(it)) = answer {
            return Ok(it);
        }
        if begun.elapsed() > patience {
            answer.with_context(|| format!("waited {patience:?} for {what}"))?;
            bail!("waited {patience:?} in vain for {what}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
