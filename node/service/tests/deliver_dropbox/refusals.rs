//! What the customer's admin is told where Dropbox, or we, refuse.

use holdfast::config::DropboxDestination;
use holdfast::deliver::Destination;
use holdfast_core::attempts::Fault as Whose;

use super::deliver_common::{MIB, bytes, file};
use super::fake::{Fake, Fault};
use super::{dropbox, fails};

#[tokio::test]
async fn who_is_not_connected_any_more_is_told_how_to_connect() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let good = fake.settings(dir.path());
    let small = file(dir.path(), "a.mp4", &bytes(10));
    fake.kept().refresh_tokens.clear();
    let error = fails(&dropbox(&good), &small).await;
    assert_eq!(error.fault, Whose::Customers);
    assert!(error.sentence.contains("refresh token is invalid or revoked"), "{error}");
    assert!(error.sentence.contains("connect Dropbox again"), "{error}");
    assert!(error.sentence.contains("refresh-token"), "which file to put it into: {error}");
    for settings in [
        DropboxDestination { app_key: "another".into(), ..good.clone() },
        DropboxDestination { app_secret_file: None, ..good.clone() },
    ] {
        let error = fails(&dropbox(&settings), &small).await;
        assert_eq!(error.fault, Whose::Customers);
        assert!(error.sentence.contains("check app_key and app_secret"), "{error}");
    }
    let missing = DropboxDestination { refresh_token_file: None, ..good };
    let error = fails(&dropbox(&missing), &small).await;
    assert!(error.sentence.contains("refresh_token is missing"), "{error}");
}

#[tokio::test]
async fn an_app_that_may_not_write_is_told_which_scope_it_lacks() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    fake.kept().scopes.remove("files.content.write");
    for length in [10, 5 * MIB] {
        let error = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(length))).await;
        assert_eq!(error.fault, Whose::Customers);
        assert!(error.sentence.contains("tick files.content.write in Permissions"), "{error}");
    }
    // Looking at what is there is advised, but not needed.
    fake.kept().scopes = ["files.content.write"].into();
    let content = bytes(9 * MIB);
    dropbox.push(&file(dir.path(), "a.mp4", &content)).await.unwrap();
    assert!(fake.content("/Recordings/a.mp4").unwrap() == content);
}

#[tokio::test]
async fn each_error_of_writing_says_what_to_do() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    for (error, advice) in [
        ("insufficient_space", "make room"),
        ("no_write_permission", "let the user write there"),
        ("team_folder", "choose another directory"),
        ("operation_suppressed", "choose another directory"),
        ("access_restricted", "team's admin"),
        ("disallowed_name", "no file or folder of this name"),
        ("malformed_path", "no file or folder of this name"),
    ] {
        fake.kept().write_error = Some(error);
        for length in [10, 5 * MIB] {
            let said = fails(&dropbox, &file(dir.path(), "a.mp4", &bytes(length))).await;
            assert_eq!(said.fault, Whose::Customers, "{said}");
            assert!(said.sentence.contains(&format!("409 (path/{error})")), "{said}");
            assert!(said.sentence.contains(advice), "{said}");
        }
    }
    assert!(fake.paths().is_empty());
}

#[tokio::test]
async fn each_refusal_of_the_account_says_what_to_do() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let good = fake.settings(dir.path());
    let small = file(dir.path(), "a.mp4", &bytes(10));
    let tagged =
        |tag: &str| format!(r#"{{"error_summary":"{tag}/..","error":{{".tag":"{tag}"}}}}"#);
    for (status, body, whose, advice) in [
        (401, tagged("user_suspended"), Whose::Customers, "have a look at it at dropbox.com"),
        (403, tagged("team_access_denied"), Whose::Customers, "ask the team's admin"),
        (400, "Error in call to API".into(), Whose::Ours, "report this to the node's vendor"),
        (
            400,
            "Your app is not permitted to access this endpoint because it does not have the required \
             scope 'files.content.write'."
                .into(),
            Whose::Customers,
            "in Permissions",
        ),
        (302, String::new(), Whose::Customers, "Dropbox's documentation"),
    ] {
        fake.fault("files/upload", Fault::Answer(status, Vec::new(), body));
        let error = fails(&dropbox(&good), &small).await;
        assert_eq!(error.fault, whose, "{error}");
        assert!(error.sentence.contains(advice), "{error}");
    }
    let elsewhere = DropboxDestination { path_root: Some("999".into()), ..good };
    let error = fails(&dropbox(&elsewhere), &small).await;
    assert_eq!(error.fault, Whose::Customers);
    assert!(error.sentence.contains("correct path_root"), "{error}");
    fake.fault("files/upload", Fault::Answer(200, Vec::new(), "<html>log in</html>".into()));
    let error = fails(&dropbox(&fake.settings(dir.path())), &small).await;
    assert_eq!(error.fault, Whose::Networks);
    assert!(error.sentence.contains("the answer is not Dropbox's"), "{error}");
}

#[tokio::test]
async fn names_that_lead_elsewhere_never_leave_the_node() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    for name in [
        "../a.mp4",
        "a/../../b.mp4",
        "a\\b.mp4",
        "a\0b.mp4",
        "/a.mp4",
        "a//b.mp4",
        &format!("{}.mp4", "ă".repeat(130)),
        &"x/".repeat(600),
    ] {
        let error = fails(&dropbox, &file(dir.path(), name, &bytes(10))).await;
        assert_eq!(error.fault, Whose::Ours, "{error}");
        assert!(error.sentence.contains("cannot use the name"), "{error}");
    }
    assert!(fake.kept().got.is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_what_the_ledger_says_is_not_pushed() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dropbox = dropbox(&fake.settings(dir.path()));
    let mut gone = file(dir.path(), "a.mp4", &bytes(10));
    gone.path = dir.path().join("nothing");
    let mut shorter = file(dir.path(), "a.mp4", &bytes(11));
    shorter.bytes = 12;
    let empty = file(dir.path(), "a.mp4", b"");
    for (file, problem) in [(gone, "cannot read"), (shorter, "instead of 12"), (empty, "is empty")]
    {
        let error = fails(&dropbox, &file).await;
        assert_eq!(error.fault, Whose::Ours);
        assert!(error.sentence.contains(problem), "{error}");
    }
    assert!(fake.kept().got.is_empty());
}
