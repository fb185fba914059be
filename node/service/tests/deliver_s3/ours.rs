//! Our own storage (rule 9): how files lie there, and that they go with their recording.

use std::sync::Arc;

use holdfast::config::{Config, S3Destination};
use holdfast::deliver::worker::Deliverer;
use holdfast::deliver::{Destination, s3::S3};
use holdfast::ingest::Streams;
use holdfast::retain::Retainer;
use holdfast_core::attempts::Fault;
use holdfast_core::names::Container;
use holdfast_core::recording::{Event, FileKind, Metadata, Recording, Source, State};
use holdfast_core::storage::Region;
use holdfast_core::{Lane, RecordingId};
use serde_json::json;

use crate::operate_node::Home;
use crate::operate_node::lane::run;
use crate::store::{KEY_ID, SECRET, Store};
use crate::{bytes, file};

#[tokio::test]
async fn rule_9_each_kind_has_its_class_and_is_encrypted() {
    let store = Store::get().await;
    let held = store.make_bucket("ours-classes").await;
    let dir = tempfile::tempdir().unwrap();
    let push = async |region, name: &str, kind, length| {
        let ours = S3Destination { ours: Some(region), ..store.settings("ours-classes") };
        let mut file = file(dir.path(), name, &bytes(length));
        file.kind = kind;
        S3::new(&ours).unwrap().push(&file).await.unwrap();
        let class = held.header(name, "x-amz-storage-class").await;
        (class, held.header(name, "x-amz-server-side-encryption").await)
    };
    for (kind, length, class) in [
        (FileKind::Main, 10, "INTELLIGENT_TIERING"),
        (FileKind::Main, (5 << 20) + 1, "INTELLIGENT_TIERING"),
        (FileKind::Snapshot, 11, "STANDARD"),
        (FileKind::Filmstrip, 12, "STANDARD"),
        (FileKind::Raw, 13, "STANDARD_IA"),
    ] {
        let name = format!("us/{}-{length}", kind.as_str());
        let (found, encrypted) = push(Region::Us1, &name, kind, length).await;
        assert_eq!(found.as_deref(), Some(class), "{name}");
        assert_eq!(encrypted.as_deref(), Some("AES256"), "{name}");
    }
    let (class, encrypted) = push(Region::Eu2, "eu/main", FileKind::Main, 14).await;
    assert!(class.is_none_or(|class| class == "STANDARD"));
    assert_eq!(encrypted, None, "Scaleway has none");
}

#[tokio::test]
async fn what_is_withdrawn_is_gone_and_again_is_harmless() {
    let store = Store::get().await;
    let held = store.make_bucket("ours-withdrawn").await;
    let dir = tempfile::tempdir().unwrap();
    let prefix = "node 7/".to_owned();
    let ours =
        S3Destination { ours: Some(Region::Us2), prefix, ..store.settings("ours-withdrawn") };
    let s3 = S3::new(&ours).unwrap();
    let mut places = Vec::new();
    for name in ["a/one.mp4", "a/two.mp4", "a/three.mp4"] {
        places.push(s3.push(&file(dir.path(), name, &bytes(100))).await.unwrap());
    }
    held.begin_upload("node 7/a/two.mp4").await;
    for _ in 0..2 {
        s3.withdraw("a/one.mp4", Some(&places[0])).await.unwrap();
        s3.withdraw("a/two.mp4", None).await.unwrap();
    }
    assert!(held.uploads().await.is_empty(), "half a push is left");
    assert!(held.read("node 7/a/one.mp4").await.is_none());
    assert!(held.read("node 7/a/two.mp4").await.is_none());
    assert!(held.read("node 7/a/three.mp4").await.is_some());
    // Nothing outside of the bucket, and nobody else's fault.
    for elsewhere in ["s3://other/a/three.mp4", "/a/three.mp4", "s3://ours-withdrawn/../x"] {
        let error = s3.withdraw("a/three.mp4", Some(elsewhere)).await.unwrap_err();
        assert_eq!(error.fault, Fault::Ours, "{error}");
    }
    let nobody = S3Destination { endpoint: "http://127.0.0.1:1".into(), ..ours };
    let error = S3::new(&nobody).unwrap().withdraw("a/three.mp4", None).await.unwrap_err();
    assert!(error.sentence.starts_with("destination \"archive\" (bucket \""), "{error}");
    assert!(held.read("node 7/a/three.mp4").await.is_some());
}

/// A recording of which the destination `store`, as our own, and the directory `shelf` have the .mp4.
async fn stored(home: &Home) -> RecordingId {
    let node = &home.node;
    let id = RecordingId::new(1_764_000_000_000, [7; 10]);
    let environment = node.settings.environment("store").unwrap();
    let mut policy = node.settings.policy(&environment);
    policy.destinations.push("shelf".into());
    policy.own = Some("store".into());
    policy.outputs.snapshot = true;
    let metadata = Metadata { ip: Some("192.0.2.9".into()), ..Metadata::default() };
    let now = node.clock.now();
    let rec = Recording::new(id, "store".into(), Source::Upload, policy, metadata, now);
    let created = rec.clone();
    let raw = node.with_vault(move |vault| vault.create(&created, 4)).await.unwrap();
    raw.write_all_at(b"raw!", 0).unwrap();
    node.ledger.insert(rec).await.unwrap();
    let container = Some(Container::Webm);
    home.apply(id, Event::Stopped { bytes: 4, sha256: "00".into(), container }).await;
    home.apply(id, Event::Saved).await;
    home.apply(id, Event::Due(Lane::Process)).await;
    let made = node.with_vault(move |vault| {
        std::fs::write(vault.work_folder(id)?.join("main.mp4"), b"an mp4").unwrap();
        vault.adopt(id, &[FileKind::Main])
    });
    let files = made.await.unwrap();
    home.apply(id, Event::Transcoded { media: None, files, remarks: Vec::new() }).await;
    run(home, &Deliverer::new(Arc::clone(node))).await;
    let stored = node.ledger.get(id).unwrap().unwrap();
    assert_eq!(stored.state, State::Stored, "{stored:?}");
    id
}

/// Deletes it, and what this node has of it.
async fn delete_here(home: &Home, id: RecordingId) {
    home.node.delete(id, "tests").await.unwrap();
    run(home, &Retainer::new(Arc::clone(&home.node), Streams::new())).await;
    let deleted = home.node.ledger.get(id).unwrap().unwrap();
    assert!(!deleted.is_gone(), "our storage has it still");
    run(home, &Deliverer::new(Arc::clone(&home.node))).await;
}

#[tokio::test]
async fn our_own_copy_goes_with_the_recording_and_the_customers_stays() {
    let store = Store::get().await;
    let held = store.make_bucket("bucket").await;
    let at = format!("http://127.0.0.1:{}", store.port);
    let home = Home::with_own_store(&at, KEY_ID, SECRET);
    let id = stored(&home).await;
    let key = format!("store/{id}.mp4");
    assert!(held.read(&key).await.is_some());
    let on_shelf = home.shelf().join(&key);
    assert!(on_shelf.exists());
    // A push that was cut short left a picture that nobody noted.
    held.put(&format!("store/{id}.jpg"), Some(b"pushed, not noted".to_vec())).await;

    delete_here(&home, id).await;
    let deleted = home.node.ledger.get(id).unwrap().unwrap();
    assert!(deleted.is_gone(), "{deleted:?}");
    assert_eq!(deleted.metadata, Metadata::default());
    assert!(held.read(&key).await.is_none());
    assert!(held.read(&format!("store/{id}.jpg")).await.is_none());
    assert!(on_shelf.exists(), "nothing is ever deleted from a customer's storage");
    assert_eq!(holdfast_core::recording::due(&deleted, Lane::Deliver), None);
}

#[tokio::test]
async fn nothing_is_deleted_where_our_storage_has_become_a_customers() {
    let store = Store::get().await;
    let held = store.make_bucket("bucket").await;
    let at = format!("http://127.0.0.1:{}", store.port);
    // The recording was pushed when the name was our own storage's; now it is not declared so.
    let home = Home::with_store(&at, KEY_ID, SECRET);
    let id = stored(&home).await;
    let key = format!("store/{id}.mp4");
    delete_here(&home, id).await;
    assert!(held.read(&key).await.is_some(), "it was deleted from a customer's storage");
    let deleted = home.node.ledger.get(id).unwrap().unwrap();
    let said = deleted.withdrawal.error.clone().unwrap();
    assert_eq!(said.fault, Fault::Ours);
    assert!(said.sentence.contains("is not our own storage any more"), "{}", said.sentence);
    assert!(!deleted.is_gone(), "what is not deleted is not called so");
}

#[tokio::test]
async fn rule_9_with_store_nothing_on_nothing_is_pushed_to_our_own_storage() {
    let store = Store::get().await;
    let held = store.make_bucket("bucket").await;
    let at = format!("http://127.0.0.1:{}", store.port);
    let home = Home::with_own_store(&at, KEY_ID, SECRET);
    let environment = |id: &str, store_nothing: bool, destinations: &[&str]| {
        json!({
            "id": id, "region": "US1", "store_nothing": store_nothing, "destinations": destinations,
            "snapshot": false, "filmstrip": false,
        })
        .to_string()
    };
    for (seed, env_id, store_nothing) in [(1, "some", false), (2, "nothing", true)] {
        let body = environment(env_id, store_nothing, &["shelf"]);
        let made = home.tell("POST", "/api/v1/environments", &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let id = home.transcoded(seed, env_id, FileKind::Main).await;
        run(&home, &Deliverer::new(Arc::clone(&home.node))).await;
        let rec = home.node.ledger.get(id).unwrap().unwrap();
        let (state, own) = match store_nothing {
            true => (State::Delivered, None),
            false => (State::Stored, Some("store")),
        };
        assert_eq!((rec.state, rec.policy.own.as_deref()), (state, own), "{rec:?}");
        let key = format!("{env_id}/{id}.mp4");
        assert!(home.shelf().join(&key).exists(), "{env_id}");
        assert_eq!(held.read(&key).await.is_some(), !store_nothing, "{env_id}");
    }
    // Nor where an environment names it, from the start or later.
    let refused = async |method: &str, target: &str, body: &str| {
        let problem = home.tell(method, target, body).await.is_problem(422);
        let said = problem["detail"].as_str().unwrap().to_owned();
        assert!(said.contains("\"store\" is our own storage") && said.contains("rule 9"), "{said}");
    };
    let named = environment("named", true, &["shelf", "store"]);
    refused("POST", "/api/v1/environments", &named).await;
    refused("PATCH", "/api/v1/environments/nothing", r#"{"destinations":["store"]}"#).await;
    let declared = std::fs::read_to_string(home.config_file()).unwrap();
    let named = "destinations = [\"store\"]\n";
    let declared = declared.replace(named, &format!("{named}store_nothing = true\n"));
    let refused = Config::parse(&declared, &home.config_file()).unwrap_err().to_string();
    assert!(refused.contains("\"store\" is our own storage"), "{refused}");
}
