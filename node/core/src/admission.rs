//! Who may bring a recording in (rule 3.2): whoever knows an environment's id and hash, while its
//! account has not expired.

use jiff::Timestamp;

use crate::account::{Account, Plan};

/// Why a recording is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No environment has this id.
    UnknownEnvironment,
    /// The environment has another hash.
    WrongHash,
    /// The account's trial or paid subscription is over.
    AccountExpired(Plan),
}

/// Checks that an environment's account has not expired.
///
/// # Errors
/// [`Refusal::AccountExpired`] from the instant of its expiry on.
pub fn admit_account(account: &Account, now: Timestamp) -> Result<(), Refusal> {
    if account.is_expired(now) { Err(Refusal::AccountExpired(account.plan)) } else { Ok(()) }
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
    fn rule_3_2_an_expired_account() {
        let expires_at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut account =
            Account { id: "a".into(), name: None, plan: Plan::Trial, expires_at: Some(expires_at) };
        let just_before = expires_at - jiff::SignedDuration::from_millis(1);
        assert_eq!(admit_account(&account, just_before), Ok(()));
        assert_eq!(admit_account(&account, expires_at), Err(Refusal::AccountExpired(Plan::Trial)));
        account.plan = Plan::Paid;
        assert_eq!(admit_account(&account, expires_at), Err(Refusal::AccountExpired(Plan::Paid)));
        account.expires_at = None;
        assert_eq!(admit_account(&account, Timestamp::MAX), Ok(()));
    }

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
