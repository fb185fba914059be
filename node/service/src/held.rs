//! Opening what only one node may have open.
//!
//! A node that is killed while it starts a child leaves the child with everything that it had open, locks
//! among it, until the child runs its own program or ends with its parent. The next node waits for that.

use std::time::Duration;

/// How often it is tried, and how long after each other.
const TRIES: u32 = 50;
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Tries until it is not held by somebody else; for at most five seconds. Blocks.
pub(crate) fn once_let_go<T, E>(
    open: impl Fn() -> Result<T, E>,
    is_held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 1..TRIES {
        match open() {
            Err(error) if is_held(&error) => std::thread::sleep(TRY_EVERY),
            opened => return opened,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_let_go_is_opened_and_what_else_fails_is_not_tried_again() {
        let tries = Cell::new(0);
        let open = |answers: &[Result<u8, &'static str>]| {
            let at = tries.replace(tries.get() + 1);
            answers[at.min(answers.len() - 1)]
        };
        let held = |error: &&str| *error == "held";
        assert_eq!(once_let_go(|| open(&[Err("held"), Err("held"), Ok(7)]), held), Ok(7));
        assert_eq!(tries.replace(0), 3);
        assert_eq!(once_let_go(|| open(&[Err("held"), Err("damaged")]), held), Err("damaged"));
        assert_eq!(tries.get(), 2);
    }
}
