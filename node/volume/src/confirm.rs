//! What destroys says what would be lost, and waits for a phrase that names it.

use std::io::{BufRead, IsTerminal, Write};

use crate::error::Error;

/// How the command line was asked to destroy.
#[derive(Debug, Clone, Default)]
pub struct Confirmation {
    /// Say what would be done, and do nothing.
    pub is_dry_run: bool,
    /// The phrase, from the command line.
    pub phrase: Option<String>,
}

impl Confirmation {
    /// Whether to go on: the phrase was given or is typed now. `false` in a dry run.
    ///
    /// # Errors
    /// If the phrase is another, or there is neither phrase nor terminal.
    pub fn asks(&self, would: &str, phrase: &str) -> Result<bool, Error> {
        if self.is_dry_run {
            println!("Dry run, nothing was changed. {would}\nIt would want --confirm '{phrase}'");
            return Ok(false);
        }
        let given = match &self.phrase {
            Some(given) => given.clone(),
            None if std::io::stdin().is_terminal() => typed(would, phrase),
            None => String::new(),
        };
        if given.trim() == phrase {
            return Ok(true);
        }
        Err(Error::NotConfirmed { would: would.to_owned(), phrase: phrase.to_owned() })
    }
}

fn typed(would: &str, phrase: &str) -> String {
    eprint!("{would}\nType this to do it: {phrase}\n> ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    // What cannot be read is no confirmation.
    let _ = std::io::stdin().lock().read_line(&mut line);
    line
}
