//! Where calls that block are made: on threads of their own.
//!
//! In the simulation, which has one thread, they are made in between, at a point where the node can be
//! killed before and after.

use tokio::task::JoinError;

/// Makes a call that blocks, and waits for it.
///
/// It runs to its end also when nobody waits for it any more.
///
/// # Errors
/// [`JoinError`] where it panicked.
pub async fn run<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(test)]
    if crate::simulation::is_here() {
        return tokio::spawn(crate::simulation::in_between(act)).await;
    }
    tokio::task::spawn_blocking(act).await
}
