//! Each kind of copy is made at a real server of that kind by the node's own worker, and what a
//! customer's server is told of it is called as Pipe calls it.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
#[path = "../deliver_dropbox/fake/mod.rs"]
#[allow(dead_code, reason = "it goes wrong in many ways for the tests of that destination")]
mod dropbox;
#[path = "../deliver_ftp/server.rs"]
#[allow(dead_code, reason = "it is set up in many ways for the tests of that destination")]
mod ftp;
#[path = "../operate_node/mod.rs"]
mod operate_node;
#[path = "../webhooks/receiver.rs"]
mod receiver;
#[path = "../deliver_s3/store.rs"]
#[allow(dead_code, reason = "it is looked into in many ways for the tests of that destination")]
mod s3;
#[path = "../deliver_sftp/server.rs"]
#[allow(dead_code, reason = "it lets in in many ways for the tests of that destination")]
mod sftp;

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast::config::{Destination, S3Destination};
use holdfast::deliver::worker::Deliverer;
use holdfast::webhooks::worker;
use holdfast_core::recording::{FileKind, State};
use holdfast_core::storage::Region;
use operate_node::{Home, MP4, lane};
use receiver::Receiver;
use serde_json::{Value, json};

/// Lets webhooks reach the servers of these tests.
const HERE: &str = "\n[notify]\nprivate_targets = [\"127.0.0.0/8\"]\nplain_http = true\n";

/// How the servers' own helpers push; here the node does, by its settings alone.
fn quick() -> holdfast::deliver::ftp::Limits {
    holdfast::deliver::ftp::Limits::default()
}

/// A recording that went where its environment says.
struct Copied {
    /// Its film's name at each destination.
    name: String,
    /// The `data` of each copy that the customer was told of, by event, in order.
    told: Vec<(String, Value)>,
}

/// Declares these destinations for an environment (`more` is the rest of it), has a recording of it
/// pushed, and waits for what a webhook is told.
async fn copied(destinations: Vec<Destination>, more: &str) -> Copied {
    let count = destinations.len();
    let declared = BTreeMap::from([("destinations", destinations)]);
    let declared = toml::to_string(&declared).unwrap();
    let environment =
        "[[environments]]\nid = \"shop\"\nhash = \"h\"\nsnapshot = false\nfilmstrip = false\n";
    let home = Home::with_more(&format!("{HERE}{declared}{environment}{more}\n"));
    let receiver = Receiver::start().await;
    let sending = tokio::spawn(worker::run(Arc::clone(&home.node)));
    let hook = json!({ "url": receiver.url(), "env_id": "shop" }).to_string();
    let made = home.tell("POST", "/api/v1/webhooks", &hook).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = home.transcoded(1, "shop", FileKind::Main).await;
    lane::run(&home, &Deliverer::new(Arc::clone(&home.node))).await;
    let pushed = home.node.ledger.get(id).unwrap().unwrap();
    assert_eq!(pushed.state, State::Stored, "{:?}", pushed.push.error);
    let got = receiver.has(2 + count).await;
    sending.abort();
    assert_eq!(receiver.events(id)[..2], ["video_recorded", "video_converted"]);
    let told = got[2..].iter().map(|got| (got.event(), got.json()["data"].clone())).collect();
    Copied { name: format!("shop/{id}.mp4"), told }
}

/// Asserts that one copy was told of, as this event, with where it lies.
fn is_told(copied: &Copied, event: &str, destination: &str, place: &str) {
    let [(told, data)] = &copied.told[..] else { panic!("{:?}", copied.told) };
    assert_eq!((told.as_str(), &data["destination"]), (event, &json!(destination)));
    let location = data["location"].as_str().unwrap();
    assert!(location.starts_with(place) && location.ends_with(&copied.name), "{location}");
    assert_eq!(data["locations"], json!({ "main": location }));
}

#[tokio::test]
async fn a_copy_over_plain_ftp_is_told_as_video_copied_ftp() {
    let server = ftp::Server::start(ftp::Setup::plain(ftp::Kind::Vsftpd)).await;
    let copied =
        copied(vec![Destination::Ftp(Box::new(server.settings()))], "destinations = [\"archive\"]")
            .await;
    assert_eq!(server.read(&copied.name).unwrap(), MP4);
    is_told(&copied, "video_copied_ftp", "archive", "ftp://");
}

#[tokio::test]
async fn a_copy_over_ftps_is_told_as_video_copied_ftp() {
    let server = ftp::Server::of(ftp::Kind::Proftpd).await;
    let copied = copied(
        vec![Destination::Ftps(Box::new(server.settings()))],
        "destinations = [\"archive\"]",
    )
    .await;
    assert_eq!(server.read(&copied.name).unwrap(), MP4);
    is_told(&copied, "video_copied_ftp", "archive", "ftps://");
}

#[tokio::test]
async fn a_copy_over_sftp_is_told_as_video_copied_ftp() {
    let server = sftp::Server::start("").await;
    let copied =
        copied(vec![Destination::Sftp(Box::new(server.settings()))], "destinations = [\"films\"]")
            .await;
    assert_eq!(server.content(&copied.name).unwrap(), MP4);
    is_told(&copied, "video_copied_ftp", "films", "sftp://");
}

#[tokio::test]
async fn a_copy_in_a_dropbox_is_told_as_video_copied_dbox() {
    let fake = dropbox::Fake::start().await;
    let secrets = tempfile::tempdir().unwrap();
    let settings = fake.settings(secrets.path());
    let copied =
        copied(vec![Destination::Dropbox(Box::new(settings))], "destinations = [\"box\"]").await;
    assert_eq!(fake.content(&format!("/Recordings/{}", copied.name)).unwrap(), MP4);
    is_told(&copied, "video_copied_dbox", "box", "dropbox:/Recordings/");
}

#[tokio::test]
async fn a_copy_in_a_bucket_is_told_by_whose_it_is() {
    let store = s3::Store::get().await;
    let ours = store.make_bucket("copies-ours").await;
    let theirs = store.make_bucket("copies-theirs").await;
    let own = S3Destination {
        name: "own".into(),
        ours: Some(Region::Us1),
        ..store.settings("copies-ours")
    };
    let archive = store.settings("copies-theirs");
    let copied = copied(
        vec![Destination::S3(Box::new(own)), Destination::S3(Box::new(archive))],
        "region = \"US1\"\ndestinations = [\"archive\"]",
    )
    .await;
    for held in [ours, theirs] {
        assert_eq!(held.read(&copied.name).await.unwrap(), MP4);
    }
    let told: Vec<_> = copied.told.iter().map(|(event, data)| (&**event, data)).collect();
    let [(first, own), (second, archive)] = told[..] else { panic!("{told:?}") };
    assert_eq!((first, &own["destination"]), ("video_copied_pipe_s3", &json!("own")));
    assert_eq!((second, &archive["destination"]), ("video_copied_s3", &json!("archive")));
    assert_eq!(own["location"], format!("s3://copies-ours/{}", copied.name));
    assert_eq!(archive["location"], format!("s3://copies-theirs/{}", copied.name));
}
