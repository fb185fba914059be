//! Keys: what is printed when one is made opens the API, until it is revoked.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::operate_node::Home;
use super::{call, serve};

const LIST: &str = "/api/v1/recordings";

/// The keys that `keys list --json` names.
async fn listed(home: &Home) -> Vec<Value> {
    let said = call(home, &["keys", "list", "--json"]).await;
    let list: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    list["keys"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_key_that_is_made_opens_the_api_until_it_is_revoked() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let _serving = serve(&home).await;
    let made = call(&home, &["keys", "create", "--name", "ci", "--scope", "read"]).await;
    assert_eq!((made.code, made.out.lines().count()), (0, 1), "{}{}", made.out, made.err);
    let key = made.out.trim_end();
    assert!(made.err.contains("ci") && made.err.contains("not shown again"), "{}", made.err);
    assert!(!made.err.contains(key), "{}", made.err);
    assert_eq!(home.tell_as(key, "GET", LIST, "").await.status, StatusCode::OK);
    let delete = format!("{LIST}/{id}");
    home.tell_as(key, "DELETE", &delete, "").await.is_problem(403);

    let keys = listed(&home).await;
    let of_ci = keys.iter().find(|key| key["name"] == "ci").unwrap();
    let ci = of_ci["id"].as_str().unwrap();
    let list = call(&home, &["keys", "list"]).await.out;
    let row = list.lines().find(|line| line.starts_with(ci)).unwrap_or_else(|| panic!("{list}"));
    assert!(row.contains("  ci  ") && row.contains("  read  ") && row.ends_with("  api"), "{row}");
    let declared = list.lines().find(|line| line.contains("  tests  ")).unwrap();
    assert!(declared.contains("  admin  ") && declared.ends_with("  config"), "{declared}");
    let shown = call(&home, &["keys", "show", ci]).await.out;
    assert!(shown.starts_with(&format!("{:<13} {ci}\n", "key")), "{shown}");
    for line in ["name          ci\n", "scope         read\n"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!list.contains(key) && !shown.contains(key), "{list}{shown}");

    let said = call(&home, &["keys", "revoke", ci]).await;
    assert!(said.code == 2 && said.err.contains("--yes"), "{}{}", said.code, said.err);
    assert_eq!(home.tell_as(key, "GET", LIST, "").await.status, StatusCode::OK);
    let said = call(&home, &["keys", "revoke", ci, "--yes"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "revoked\n"), "{}", said.err);
    home.tell_as(key, "GET", LIST, "").await.is_problem(401);
    assert!(listed(&home).await.iter().all(|key| key["name"] != "ci"));
    for gone in [&["keys", "show", ci][..], &["keys", "revoke", ci, "--yes"]] {
        let said = call(&home, gone).await;
        assert!(said.code == 3 && said.err.contains(ci), "{}{}", said.code, said.err);
    }
}

#[tokio::test]
async fn a_key_for_some_environments_sees_no_other() {
    let home = Home::new();
    let seen = home.saved(1, "demo").await;
    home.saved(2, "plain").await;
    let _serving = serve(&home).await;
    let create = ["keys", "create", "--name", "shop", "--scope", "manage", "--json"];
    let said = call(&home, &[&create[..], &["--env", "demo", "--env", "shelf"]].concat()).await;
    let made: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    assert_eq!(made["env_ids"], json!(["demo", "shelf"]));
    let list = home.tell_as(made["key"].as_str().unwrap(), "GET", LIST, "").await.json();
    let ids: Vec<&Value> =
        list["recordings"].as_array().unwrap().iter().map(|rec| &rec["id"]).collect();
    assert_eq!(ids, [&json!(seen)]);
}

#[tokio::test]
async fn a_key_that_makes_no_sense_or_is_the_configurations_is_refused() {
    let home = Home::new();
    let _serving = serve(&home).await;
    let admin = ["keys", "create", "--name", "x", "--scope", "admin", "--env", "demo"];
    for (arguments, code, words) in [
        (&["keys", "create", "--scope", "read"][..], 2, "--name"),
        (&["keys", "create", "--name", "x", "--scope", "all"], 2, "possible values"),
        (&admin[..], 1, "limited to environments"),
        (&["keys", "create", "--name", "", "--scope", "read"], 1, "name"),
    ] {
        let said = call(&home, arguments).await;
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    let keys = listed(&home).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let declared = keys[0]["id"].as_str().unwrap();
    let said = call(&home, &["keys", "revoke", declared, "--yes"]).await;
    assert!(said.code == 1 && said.err.contains("configuration file"), "{}{}", said.code, said.err);
    assert_eq!(home.ask("GET", LIST).await.status, StatusCode::OK);
}
