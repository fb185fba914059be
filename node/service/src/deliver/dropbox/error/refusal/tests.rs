use super::*;

fn refusal(status: u16, body: &str) -> Refusal {
    Refusal::read("test", status, None, body)
}

#[test]
fn whose_fault_it_is() {
    for (status, error, fault, meaning) in [
        (401, r#"{".tag":"expired_access_token"}"#, Fault::Customers, Meaning::Token),
        (401, r#"{".tag":"missing_scope","required_scope":"x"}"#, Fault::Customers, Meaning::Scope),
        (401, r#"{".tag":"user_suspended"}"#, Fault::Customers, Meaning::Denied),
        (400, r#""invalid_grant""#, Fault::Customers, Meaning::Disconnected),
        (400, r#""invalid_client: Invalid client_id""#, Fault::Customers, Meaning::App),
        (403, r#"{".tag":"no_permission"}"#, Fault::Customers, Meaning::Denied),
        (422, r#"{".tag":"no_permission"}"#, Fault::Customers, Meaning::PathRoot),
        (429, r#"{"reason":{".tag":"too_many_requests"}}"#, Fault::Networks, Meaning::Busy),
        (409, r#"{".tag":"too_many_write_operations"}"#, Fault::Networks, Meaning::Busy),
        (409, r#"{".tag":"content_hash_mismatch"}"#, Fault::Networks, Meaning::Altered),
        (409, r#"{".tag":"payload_too_large"}"#, Fault::Ours, Meaning::Misused),
        (409, r#"{".tag":"not_found"}"#, Fault::Networks, Meaning::Session),
        (409, r#"{".tag":"path","path":{".tag":"not_found"}}"#, Fault::Customers, Meaning::Gone),
        (
            409,
            r#"{".tag":"path","path":{".tag":"conflict","conflict":{".tag":"folder"}}}"#,
            Fault::Customers,
            Meaning::Folder,
        ),
        (
            409,
            r#"{".tag":"path","reason":{".tag":"insufficient_space"},"upload_session_id":"s"}"#,
            Fault::Customers,
            Meaning::Full,
        ),
        (500, "null", Fault::Networks, Meaning::Broken),
    ] {
        let body = format!(r#"{{"error_summary":"x/..","error":{error}}}"#);
        let found = refusal(status, &body);
        assert_eq!((found.fault(), found.meaning()), (fault, meaning), "{body}");
    }
    let sentence =
        r#"Your app is not permitted: it lacks the required scope 'files.content.write'"#;
    assert_eq!(refusal(400, sentence).meaning(), Meaning::Scope);
    assert_eq!(refusal(400, "Error in call: bad header").meaning(), Meaning::Misused);
}

#[test]
fn what_is_beside_the_tags_is_read() {
    let body = r#"{"error":{".tag":"lookup_failed","lookup_failed":
        {".tag":"incorrect_offset","correct_offset":7}}}"#;
    let found = refusal(409, body);
    assert_eq!((found.meaning(), found.correct_offset), (Meaning::Offset, Some(7)));
    assert_eq!(
        found.to_string(),
        "cannot test: Dropbox answers 409 (lookup_failed/incorrect_offset)"
    );
    let body = r#"{"error":{".tag":"path","reason":{".tag":"conflict","conflict":{".tag":"file"}},
        "upload_session_id":"pid:7"}}"#;
    let found = refusal(409, body);
    assert_eq!(found.meaning(), Meaning::File);
    assert_eq!(found.upload_session_id.as_deref(), Some("pid:7"));
    let body = r#"{"error":{"reason":{".tag":"too_many_requests"},"retry_after":9}}"#;
    assert_eq!(refusal(429, body).retry_after_s, Some(9));
    assert_eq!(Refusal::read("test", 429, Some("300"), body).retry_after_s, Some(300));
}

#[test]
fn what_may_be_a_token_is_not_repeated() {
    let said = refusal(400, "the token sl.Babcdefg is odd").to_string();
    assert_eq!(said, "cannot test: Dropbox answers 400 (the token is odd)");
}
