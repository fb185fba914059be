//! The routes of `files.stone` that a destination uses.

use serde_json::{Value, json};

use super::spec::{
    AppendArg, DeleteArg, FinishArg, PathArg, Refused, StartArg, UploadArg, check_pattern, parse,
    path_error, refused, union,
};
use super::{BLOCK, Bytes, File, Kept, PAYLOAD_MAX, SESSION_LIFE_S, Session};

/// Which scope a route needs.
pub(crate) fn scope(route: &str) -> Option<&'static str> {
    Some(match route {
        "files/get_metadata" => "files.metadata.read",
        "files/download" => "files.content.read",
        "files/delete_v2"
        | "files/upload"
        | "files/upload_session/start"
        | "files/upload_session/append_v2"
        | "files/upload_session/finish" => "files.content.write",
        _ => return None,
    })
}

/// Does what a route does. `is_cut` says that the body ended before its time.
pub(crate) fn act(
    kept: &mut Kept,
    route: &str,
    argument: &Value,
    body: Bytes,
    is_cut: bool,
) -> Result<Value, Refused> {
    if body.length > PAYLOAD_MAX {
        return refused(&["payload_too_large"]);
    }
    match route {
        _ if is_cut && route != "files/upload_session/append_v2" => Err(Refused::Cut),
        "files/get_metadata" => metadata(kept, &parse(argument)?),
        "files/delete_v2" => delete(kept, &parse(argument)?),
        "files/upload" => upload(kept, &parse(argument)?, body),
        "files/upload_session/start" => start(kept, &parse(argument)?, body),
        "files/upload_session/append_v2" => append(kept, &parse(argument)?, body, is_cut),
        "files/upload_session/finish" => finish(kept, &parse(argument)?, body),
        _ => Err(Refused::Bad(format!("Unknown API function: {route:?}"))),
    }
}

fn check_hash(given: Option<&String>, body: &Bytes) -> Result<(), Refused> {
    match given {
        Some(hash) if hash.len() != 64 => Err(Refused::Bad("content_hash: 64 characters".into())),
        Some(hash) if *hash != body.content_hash() => refused(&["content_hash_mismatch"]),
        _ => Ok(()),
    }
}

/// `FileMetadata`
pub(crate) fn of_file(file: &File) -> Value {
    let name = file.path.rsplit('/').next();
    json!({
        "name": name,
        "id": format!("id:{:012}", file.rev),
        "client_modified": "2026-03-02T00:00:00Z",
        "server_modified": "2026-03-02T00:00:00Z",
        "rev": format!("{:012x}", file.rev),
        "size": file.bytes.length,
        "path_lower": file.path.to_lowercase(),
        "path_display": file.path,
        "is_downloadable": true,
        "content_hash": file.bytes.content_hash(),
    })
}

fn metadata(kept: &Kept, argument: &PathArg) -> Result<Value, Refused> {
    check_pattern(&argument.path)?;
    if let Some(error) = path_error(&argument.path) {
        return refused(&["path", if error == "disallowed_name" { "not_found" } else { error }]);
    }
    let key = argument.path.to_lowercase();
    if kept.folders.contains(&key) {
        return Ok(json!({ ".tag": "folder", "name": "x", "id": "id:folder" }));
    }
    let Some(file) = kept.files.get(&key) else { return refused(&["path", "not_found"]) };
    let mut found = of_file(file);
    found[".tag"] = json!("file");
    Ok(found)
}

fn delete(kept: &mut Kept, argument: &DeleteArg) -> Result<Value, Refused> {
    check_pattern(&argument.path)?;
    let key = argument.path.to_lowercase();
    match kept.files.get(&key).map(of_file) {
        Some(file) if argument.parent_rev.as_ref().is_some_and(|rev| file["rev"] != **rev) => {
            refused(&["path_write", "conflict", "file"])
        }
        Some(mut file) => {
            kept.files.remove(&key);
            file[".tag"] = json!("file");
            Ok(json!({ "metadata": file }))
        }
        None if kept.folders.contains(&key) => panic!("a folder is being deleted"),
        None => refused(&["path_lookup", "not_found"]),
    }
}

/// The file that a download is of.
pub(crate) fn wanted(kept: &Kept, argument: &Value) -> Result<File, Refused> {
    let argument: PathArg = parse(argument)?;
    check_pattern(&argument.path)?;
    match kept.files.get(&argument.path.to_lowercase()) {
        Some(file) => Ok(file.clone()),
        None => refused(&["path", "not_found"]),
    }
}

/// Writes a file, or says with which `WriteError` it cannot.
fn save(kept: &mut Kept, commit: &UploadArg, bytes: Bytes) -> Result<Value, Vec<&'static str>> {
    if let Some(error) = kept.write_error.or_else(|| path_error(&commit.path)) {
        return Err(vec![error]);
    }
    let overwrites = commit.overwrites().map_err(|_| vec!["other"])?;
    let mut path = commit.path.clone();
    for number in 2.. {
        let key = path.to_lowercase();
        let above = key.match_indices('/').map(|(at, _)| &key[..at]);
        if above.clone().any(|above| kept.files.contains_key(above)) {
            return Err(vec!["conflict", "file_ancestor"]);
        }
        let conflict = match kept.files.get(&key) {
            _ if kept.folders.contains(&key) => "folder",
            Some(file) if file.bytes == bytes && !commit.strict_conflict => {
                return Ok(of_file(file));
            }
            Some(_) if !overwrites => "file",
            _ => {
                let used: usize = kept.files.values().map(|file| file.bytes.length).sum();
                if used + bytes.length > kept.space_bytes {
                    return Err(vec!["insufficient_space"]);
                }
                kept.folders.extend(
                    above.filter(|above| !above.is_empty()).map(String::from).collect::<Vec<_>>(),
                );
                kept.revs += 1;
                let file = File { path, bytes, rev: kept.revs };
                let saved = of_file(&file);
                kept.files.insert(key, file);
                return Ok(saved);
            }
        };
        if !commit.autorename {
            return Err(vec!["conflict", conflict]);
        }
        let (stem, extension) = commit.path.rsplit_once('.').unwrap();
        path = format!("{stem} ({number}).{extension}");
    }
    unreachable!("numbers end")
}

fn upload(kept: &mut Kept, argument: &UploadArg, body: Bytes) -> Result<Value, Refused> {
    check_pattern(&argument.path)?;
    argument.overwrites().map_err(Refused::Bad)?;
    check_hash(argument.content_hash.as_ref(), &body)?;
    save(kept, argument, body.clone()).map_err(|tags| {
        // What was sent is kept for a session, by which it can be saved elsewhere.
        let session = Session {
            begun_s: kept.now_s,
            parts: [(0, body)].into(),
            is_closed: true,
            ..Session::default()
        };
        let upload_session_id = add(kept, session);
        let mut failed = json!({ "reason": union(&tags, &json!({})) });
        failed["upload_session_id"] = json!(upload_session_id);
        Refused::Endpoint(union(&["path"], &failed))
    })
}

fn add(kept: &mut Kept, session: Session) -> String {
    kept.sessions_made += 1;
    let id = format!("pid_upload_session:{}", kept.sessions_made);
    kept.sessions.insert(id.clone(), session);
    id
}

fn start(kept: &mut Kept, argument: &StartArg, body: Bytes) -> Result<Value, Refused> {
    check_hash(argument.content_hash.as_ref(), &body)?;
    let given = argument.session_type.as_ref();
    let session_type = given.and_then(|given| given.as_str().or(given[".tag"].as_str()));
    let is_concurrent = match session_type {
        Some("concurrent") => true,
        None | Some("sequential") => false,
        Some(other) => return Err(Refused::Bad(format!("session_type: {other:?}"))),
    };
    if is_concurrent && body.length > 0 {
        return refused(&["concurrent_session_data_not_allowed"]);
    }
    if is_concurrent && argument.close {
        return refused(&["concurrent_session_close_not_allowed"]);
    }
    let mut session = Session { is_concurrent, begun_s: kept.now_s, ..Session::default() };
    session.is_closed = argument.close;
    if body.length > 0 {
        session.parts.insert(0, body);
    }
    Ok(json!({ "session_id": add(kept, session) }))
}

impl Session {
    fn length(&self) -> usize {
        self.parts.values().map(|part| part.length).sum()
    }

    /// How far its data reach without a gap.
    fn reaches(&self) -> usize {
        self.parts
            .iter()
            .fold(0, |at, (offset, part)| if *offset == at { at + part.length } else { at })
    }
}

/// A session that can be used, or an error of `UploadSessionLookupError`.
fn session<'a>(kept: &'a mut Kept, id: &str) -> Result<&'a mut Session, Value> {
    let (now_s, after_commit) = (kept.now_s, kept.after_commit);
    match kept.sessions.get_mut(id) {
        Some(session) if now_s - session.begun_s > SESSION_LIFE_S => {
            Err(union(&["not_found"], &json!({})))
        }
        Some(session) if session.is_committed => Err(union(&[after_commit], &json!({}))),
        Some(session) => Ok(session),
        None => Err(union(&["not_found"], &json!({}))),
    }
}

fn offset_error(correct: usize) -> Value {
    union(&["incorrect_offset"], &json!({ "correct_offset": correct }))
}

fn append(
    kept: &mut Kept,
    argument: &AppendArg,
    body: Bytes,
    is_cut: bool,
) -> Result<Value, Refused> {
    let (refuses_repeats, keeps_halves) = (kept.refuses_repeats, kept.keeps_halves);
    let offset = argument.cursor.offset;
    let session = session(kept, &argument.cursor.session_id).map_err(Refused::Endpoint)?;
    if session.is_closed {
        return refused(&["closed"]);
    }
    let end = session.reaches();
    if !session.is_concurrent && offset != end {
        return Err(Refused::Endpoint(offset_error(end)));
    }
    if is_cut {
        if keeps_halves && !session.is_concurrent && body.length > 0 {
            session.parts.insert(offset, body);
        }
        return Err(Refused::Cut);
    }
    if session.is_concurrent {
        if !offset.is_multiple_of(BLOCK) {
            return refused(&["concurrent_session_invalid_offset"]);
        }
        if !body.length.is_multiple_of(BLOCK) && !argument.close {
            return refused(&["concurrent_session_invalid_data_size"]);
        }
        match session.parts.get(&offset) {
            Some(there) if refuses_repeats || *there != body => {
                return Err(Refused::Endpoint(offset_error(end)));
            }
            _ => {}
        }
    }
    check_hash(argument.content_hash.as_ref(), &body)?;
    if body.length > 0 {
        session.parts.insert(offset, body);
    }
    session.is_closed = argument.close;
    Ok(Value::Null)
}

fn finish(kept: &mut Kept, argument: &FinishArg, body: Bytes) -> Result<Value, Refused> {
    let FinishArg { cursor, commit, content_hash } = argument;
    check_pattern(&commit.path)?;
    commit.overwrites().map_err(Refused::Bad)?;
    check_hash(content_hash.as_ref(), &body)?;
    if commit.content_hash.is_some() {
        return Err(Refused::Bad("commit: unknown field 'content_hash'".into()));
    }
    let lookup = |error| {
        Refused::Endpoint({
            let mut outer = json!({ "lookup_failed": error });
            outer[".tag"] = json!("lookup_failed");
            outer
        })
    };
    let session = session(kept, &cursor.session_id).map_err(lookup)?;
    if session.is_concurrent {
        if body.length > 0 {
            return refused(&["concurrent_session_data_not_allowed"]);
        }
        if !session.is_closed {
            return refused(&["concurrent_session_not_closed"]);
        }
        if session.reaches() != session.length() {
            return refused(&["concurrent_session_missing_data"]);
        }
    }
    let end = session.reaches();
    if cursor.offset != end {
        return Err(lookup(offset_error(end)));
    }
    if body.length > 0 {
        session.parts.insert(end, body);
    }
    let mut whole = Bytes::default();
    for part in session.parts.values() {
        whole.join(part);
    }
    let saved = save(kept, commit, whole)
        .map_err(|tags| Refused::Endpoint(union(&[&["path"], &tags[..]].concat(), &json!({}))))?;
    if let Some(session) = kept.sessions.get_mut(&cursor.session_id) {
        session.is_committed = true;
        session.parts.clear();
    }
    Ok(saved)
}
