//! Who may bring a recording in (rule 3.2).
//!
//! Accounts and their expiry join here; so far an environment is known by its id and hash.

/// Why a recording is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No environment has this id.
    UnknownEnvironment,
    /// The environment has another hash.
    WrongHash,
}

/// Checks an offered hash against that of the named environment, if there is one.
///
/// The comparison takes the same time wherever the two differ.
///
/// # Errors
/// [`Refusal`] says why not.
pub fn admit(expected_hash: Option<&str>, offered_hash: &str) -> Result<(), Refusal> {
    let expected = expected_hash.ok_or(Refusal::UnknownEnvironment)?.as_bytes();
    let offered = offered_hash.as_bytes();
    let mut difference = u8::from(expected.len() != offered.len());
    for (index, byte) in offered.iter().enumerate() {
        difference |= byte ^ expected.get(index % expected.len().max(1)).copied().unwrap_or(0xff);
    }
    if difference == 0 { Ok(()) } else { Err(Refusal::WrongHash) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_3_2_hash_and_env_id() {
        assert_eq!(admit(Some("abc"), "abc"), Ok(()));
        assert_eq!(admit(None, "abc"), Err(Refusal::UnknownEnvironment));
        for wrong in ["", "abd", "ab", "abcabc", "abc\0"] {
            assert_eq!(admit(Some("abc"), wrong), Err(Refusal::WrongHash), "{wrong:?}");
        }
        assert_eq!(admit(Some(""), "x"), Err(Refusal::WrongHash));
    }
}
