//! Pushes that use up their attempts: what counts is what the customer chose.

use holdfast_core::recording::{FileKind, NewFile};

use super::*;

/// A recording whose snapshot its destination never takes, until its attempts are used up. Answers
/// with its id; the receiver was told all that there is to tell.
async fn without_its_snapshot(days: &Days, success: &str) -> RecordingId {
    let given = |value: serde_json::Value| value.as_object().unwrap().clone();
    for (kind, value) in [
        (
            Kind::Destination,
            json!({
                "kind": "ftps", "name": "films", "host": "ftp.example", "user": "node",
                "password": "p",
            }),
        ),
        (
            Kind::Environment,
            json!({
                "id": "shop", "filmstrip": false, "destinations": ["films"], "success": success,
            }),
        ),
        (
            Kind::Webhook,
            json!({
                "id": "shop-hook", "env_id": "shop", "url": days.receiver.url(),
                "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            }),
        ),
    ] {
        days.node.settings.create(&days.node, "tests", kind, given(value)).await.unwrap();
    }
    let began = days.now();
    let id = RecordingId::new(u64::try_from(began.as_millisecond()).unwrap(), [7; 10]);
    let settings = &days.node.settings;
    let policy = settings.policy(&settings.environment("shop").unwrap());
    let rec = Recording::new(id, "shop".into(), Source::Upload, policy, Metadata::default(), began);
    days.node.ledger.insert(rec).await.unwrap();
    let (sha256, container) = ("5e".into(), Some(Container::Webm));
    days.apply(id, Event::Stopped { bytes: 7, sha256, container }).await;
    days.apply(id, Event::Saved).await;
    days.apply(id, Event::Due(Lane::Process)).await;
    let files = [FileKind::Main, FileKind::Snapshot];
    let files = files.map(|kind| NewFile { kind, bytes: 7, sha256: Some("5f".into()) }).into();
    days.apply(id, Event::Transcoded { media: None, files, remarks: Vec::new() }).await;
    // What waits for longer than 72 hours is given up, so it is not let wait.
    days.receiver.has(2).await;
    let rec = || days.node.ledger.get(id).unwrap().unwrap();
    while rec().state == State::Delivering {
        days.apply(id, Event::Due(Lane::Deliver)).await;
        if !rec().file(FileKind::Main).unwrap().is_pushed_to("films") {
            let (destination, kind) = ("films".into(), FileKind::Main);
            let location = "ftps://ftp.example/film.mp4".into();
            days.apply(id, Event::FilePushed { destination, kind, location }).await;
        }
        let (fault, sentence) = (Fault::Customers, "the disk is full".into());
        let failure = Some(Failure { fault, sentence, at: days.now() });
        days.apply(id, Event::PushEnded { failure }).await;
        days.pass(SignedDuration::from_hours(24)).await;
    }
    days.receiver.has(3).await;
    // Events of a recording come in order: behind its deletion nothing is still to come.
    days.apply(id, Event::DeleteRequested { by: "tests".into() }).await;
    days.apply(id, Event::Due(Lane::Retain)).await;
    let kinds = vec![FileKind::Raw, FileKind::Main, FileKind::Snapshot];
    days.apply(id, Event::FilesDeleted(kinds)).await;
    until("its deletion to be told", || {
        let events = days.receiver.events(id);
        events.iter().any(|event| event == "recording.deleted").then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn where_the_main_file_is_enough_and_is_there_no_failure_is_told_of_the_others() {
    let days = Days::new().await;
    let id = without_its_snapshot(&days, "main").await;
    let told = ["video_recorded", "video_converted", "video_copied_ftp", "recording.deleted"];
    assert_eq!(days.receiver.events(id), told);
    // What is missing is to be seen all the same.
    let copied = &days.receiver.got()[2].json()["data"];
    assert_eq!(copied["state"], "stored");
    assert_eq!(copied["locations"], json!({ "main": "ftps://ftp.example/film.mp4" }));
    let rec = days.node.ledger.get(id).unwrap().unwrap();
    assert!(rec.push.exhausted, "{:?}", rec.push);
    assert_eq!(rec.push.error.unwrap().sentence, "the disk is full");
}

#[tokio::test]
async fn where_every_file_is_wanted_a_missing_one_is_told_as_a_failure() {
    let days = Days::new().await;
    let id = without_its_snapshot(&days, "all").await;
    let told = ["video_recorded", "video_converted", "recording.failed", "recording.deleted"];
    assert_eq!(days.receiver.events(id), told);
    let failed = &days.receiver.got()[2].json()["data"];
    assert_eq!((&failed["state"], &failed["step"]), (&json!("failed"), &json!("push")));
    assert_eq!(failed["error"]["sentence"], "the disk is full");
}
