//! `holdfast provision take`: looks, checks, installs, reports.

use std::path::{Path, PathBuf};

use super::check::{self, Settings};
use super::folder::{self, Bundle, Found};
use super::store::{Current, Store, Taken};
use super::{
    CONFIG, HANDED_IN, HTTP3, Outcome, ProvisionError, SECRETS, SETTINGS, Seen, State, files,
};
use crate::config::Config;

/// What is asked for.
#[derive(Debug, Default, Clone)]
pub struct Order {
    /// Folders in their order; the first with a configuration decides.
    pub from: Vec<PathBuf>,
    /// The page's inbox: looked into before all others, and emptied.
    pub inbox: Option<PathBuf>,
    /// Where what is taken lies.
    pub to: PathBuf,
    /// Where the outcome is written for people; secrets are removed from here.
    pub esp: Option<PathBuf>,
    /// Where the outcome is written for the page and for units.
    pub report: Option<PathBuf>,
    /// Whether secrets that are safe in `to` go from `esp`.
    pub remove_secrets: bool,
    /// Who may read the configuration beside root.
    pub group: Option<String>,
}

/// Does it, and writes down what came of it. That the outcome cannot be written to the ESP is said on
/// stderr and no failure: the node is more important than the note.
///
/// # Errors
/// [`ProvisionError`] where this machine stands in the way; the outcome says so too, as far as it can
/// be written.
pub fn take(order: &Order) -> Result<Outcome, ProvisionError> {
    let done = attempt(order);
    let outcome = match &done {
        Ok(outcome) => outcome.clone(),
        Err(error) => Outcome {
            state: State::Failed,
            summary: "this box could not take its configuration.".into(),
            problems: vec![format!("{error}.")],
            advice: vec![
                "Restart the box; if it says this again, its disk needs looking at.".into(),
            ],
            looked_at: Vec::new(),
            source: None,
            settings: None,
        },
    };
    write_down(order, &outcome);
    done
}

fn write_down(order: &Order, outcome: &Outcome) {
    let places =
        [(Some(&order.to), 0o640), (order.esp.as_ref(), 0o644), (order.report.as_ref(), 0o644)];
    for (folder, mode) in places.into_iter().filter_map(|(folder, mode)| Some((folder?, mode))) {
        if let Err(error) = outcome.write(folder, mode) {
            eprintln!("holdfast: cannot write the outcome into {}: {error}", folder.display());
        }
    }
    if let Some(folder) = &order.report
        && let Err(error) = outcome.write_environment(folder)
    {
        eprintln!("holdfast: cannot write into {}: {error}", folder.display());
    }
}

fn attempt(order: &Order) -> Result<Outcome, ProvisionError> {
    let group = order.group.as_deref().map(group_id).transpose()?;
    let store = Store::open(&order.to, group)?;
    let mut problems = Vec::new();
    let earlier = store.current().unwrap_or_else(|damage| {
        problems.push(damage + ".");
        None
    });
    let inbox = order.inbox.as_ref().map(|inbox| inbox.join(HANDED_IN));
    let folders: Vec<&PathBuf> = inbox.iter().chain(&order.from).collect();
    let finds: Vec<(&Path, Found)> =
        folders.into_iter().map(|path| (path.as_path(), folder::read(path))).collect();
    let looked_at = finds.iter().map(|(path, found)| seen(path, found)).collect();
    let mut outcome = decide(&store, earlier, &finds)?;
    problems.append(&mut outcome.problems);
    outcome.problems = problems;
    outcome.looked_at = looked_at;
    store.tidy()?;
    if let Some(report) = &order.report
        && let Err(error) = mark_http3(&store, report)
    {
        let path = report.join(HTTP3);
        outcome.problems.push(format!("{} could not be written: {error}.", path.display()));
    }
    if let Some(inbox) = &inbox
        && let Err(error) = files::remove(inbox)
    {
        outcome.problems.push(format!("{} could not be emptied: {error}.", inbox.display()));
    }
    if let Some(esp) = order.esp.as_ref().filter(|_| order.remove_secrets)
        && let Ok(Some(current)) = store.current()
    {
        outcome.problems.extend(remove_secrets(esp, &current.bundle));
    }
    Ok(outcome)
}

/// Tells `holdfast-http3.socket` whether the configuration in use wants it.
fn mark_http3(store: &Store, report: &Path) -> std::io::Result<()> {
    let current = store.current().ok().flatten();
    let config = current.and_then(|it| Config::parse(&it.bundle.config, Path::new(CONFIG)).ok());
    let mark = report.join(HTTP3);
    if config.is_some_and(|config| config.node.http3) {
        files::replace(&mark, b"", 0o644, None)
    } else {
        files::remove(&mark)
    }
}

fn group_id(name: &str) -> Result<u32, ProvisionError> {
    let group = nix::unistd::Group::from_name(name).ok().flatten();
    group.map(|group| group.gid.as_raw()).ok_or_else(|| ProvisionError::Group(name.into()))
}

fn seen(path: &Path, found: &Found) -> Seen {
    let found = match found {
        Found::Nothing(None) => format!("no {CONFIG}"),
        Found::Nothing(Some(hint)) => format!("no {CONFIG}; {hint}"),
        Found::Broken(_) => "something that cannot be used".into(),
        Found::Bundle(bundle) => {
            let settings =
                bundle.settings.as_ref().map_or(String::new(), |_| format!(", {SETTINGS}"));
            let secrets = match bundle.secrets.len() {
                0 => String::new(),
                1 => ", 1 secret".into(),
                many => format!(", {many} secrets"),
            };
            format!("{CONFIG}{settings}{secrets}")
        }
    };
    Seen { folder: path.to_path_buf(), found }
}

fn decide(
    store: &Store,
    earlier: Option<Current>,
    finds: &[(&Path, Found)],
) -> Result<Outcome, ProvisionError> {
    let winner = finds.iter().position(|(_, found)| !matches!(found, Found::Nothing(_)));
    let Some(index) = winner else { return Ok(nothing(earlier.as_ref(), finds)) };
    let source = finds[index].0;
    let bundle = match &finds[index].1 {
        Found::Bundle(bundle) => bundle,
        Found::Broken(problems) => return Ok(broken(earlier.as_ref(), source, problems.clone())),
        Found::Nothing(_) => return Ok(nothing(earlier.as_ref(), finds)),
    };
    if let Some(earlier) = &earlier
        && earlier.taken.passed_over.contains(&fingerprint(bundle))
    {
        return Ok(unchanged(
            earlier,
            format!(
                "nothing new: the configuration in {} was there already when the one from {} was \
                 taken. Change it to have it taken.",
                source.display(),
                earlier.taken.source.display()
            ),
        ));
    }
    let whole = with_earlier_secrets(bundle, earlier.as_ref());
    let settings = match check::check(&whole, |_| false) {
        Ok(settings) => settings,
        Err(problems) => return Ok(broken(earlier.as_ref(), source, problems)),
    };
    let others = finds.iter().enumerate().filter(|(other, _)| *other != index);
    let passed_over = others
        .filter_map(|(_, (_, found))| match found {
            Found::Bundle(bundle) => Some(fingerprint(bundle)),
            _ => None,
        })
        .collect();
    let taken = Taken { digest: whole.digest(), source: source.to_path_buf(), passed_over };
    if let Some(earlier) = earlier.filter(|earlier| earlier.taken.digest == taken.digest) {
        if earlier.taken != taken {
            store.note(&taken)?;
        }
        return Ok(unchanged(
            &Current { bundle: whole, taken },
            format!("nothing new: the configuration in {} was taken already.", source.display()),
        ));
    }
    store.commit(&whole, &taken)?;
    Ok(Outcome {
        state: State::Taken,
        summary: format!("the configuration from {} was taken.", source.display()),
        problems: Vec::new(),
        advice: Vec::new(),
        looked_at: Vec::new(),
        source: Some(taken.source),
        settings: Some(settings),
    })
}

/// Of what people edit. Secrets may be gone from where they were found.
fn fingerprint(bundle: &Bundle) -> String {
    Bundle { secrets: folder::Secrets::new(), ..bundle.clone() }.digest()
}

/// What was found, with the secrets that it names and that came earlier; they may have been removed
/// from where they came from.
fn with_earlier_secrets(bundle: &Bundle, earlier: Option<&Current>) -> Bundle {
    let mut whole = bundle.clone();
    for name in check::wanted(&bundle.config) {
        if let Some(secret) = earlier.and_then(|earlier| earlier.bundle.secrets.get(&name)) {
            whole.secrets.entry(name).or_insert_with(|| secret.clone());
        }
    }
    whole
}

/// Settings of what was taken earlier; they were checked then.
fn settings_of(current: &Current) -> Option<Settings> {
    check::settings(current.bundle.settings.as_deref().unwrap_or_default()).ok()
}

fn unchanged(earlier: &Current, summary: String) -> Outcome {
    Outcome {
        state: State::Unchanged,
        summary,
        problems: Vec::new(),
        advice: Vec::new(),
        looked_at: Vec::new(),
        source: Some(earlier.taken.source.clone()),
        settings: settings_of(earlier),
    }
}

fn nothing(earlier: Option<&Current>, finds: &[(&Path, Found)]) -> Outcome {
    if let Some(earlier) = earlier {
        let source = earlier.taken.source.display();
        return unchanged(
            earlier,
            format!("nothing new was found; the configuration from {source} stays."),
        );
    }
    let hints = finds.iter().filter_map(|(path, found)| match found {
        Found::Nothing(Some(hint)) => Some(format!("In {}, {hint}.", path.display())),
        _ => None,
    });
    let ways = format!(
        "Put {CONFIG} on a stick with the label HF-SETUP (HOLDFAST-SETUP where it is not FAT) or on this \
         box's small partition with the label ESP and restart it, or open https:// and this box's \
         address in a browser and give the code on its label."
    );
    Outcome {
        state: State::Nothing,
        summary: "no configuration was found; the box waits for one.".into(),
        problems: Vec::new(),
        advice: hints.chain([ways]).collect(),
        looked_at: Vec::new(),
        source: None,
        settings: None,
    }
}

fn broken(earlier: Option<&Current>, source: &Path, problems: Vec<String>) -> Outcome {
    let at = source.display();
    let mut advice = vec![format!(
        "Mend what is named above in {at} and restart the box. Every key is described in \
         docs/configuration.md and docs/provisioning.md."
    )];
    let summary = if let Some(earlier) = earlier {
        let before = earlier.taken.source.display();
        format!(
            "the configuration in {at} cannot be used; the earlier one, from {before}, stays in use."
        )
    } else {
        advice.push(
            "Or open https:// and this box's address in a browser, give the code on its label and \
             hand in a configuration there."
                .into(),
        );
        format!("the configuration in {at} cannot be used; the box waits for another.")
    };
    Outcome {
        state: if earlier.is_some() { State::Kept } else { State::Broken },
        summary,
        problems,
        advice,
        looked_at: Vec::new(),
        source: earlier.map(|earlier| earlier.taken.source.clone()),
        settings: earlier.and_then(settings_of),
    }
}

/// Removes from the ESP what is durable elsewhere, and only that. Answers what could not be.
fn remove_secrets(esp: &Path, taken: &Bundle) -> Vec<String> {
    let Found::Bundle(there) = folder::read(esp) else { return Vec::new() };
    let folder = esp.join(SECRETS);
    let mut problems = Vec::new();
    for (name, secret) in &there.secrets {
        let path = folder.join(name);
        if taken.secrets.get(name) != Some(secret) {
            problems.push(format!(
                "{} was left where it is: it is not part of what was taken.",
                path.display()
            ));
        } else if let Err(error) = files::wipe(&folder, name) {
            problems.push(format!("{} could not be removed: {error}.", path.display()));
        }
    }
    // What a power cut left of an earlier removal.
    let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    for entry in names.filter(|e| e.file_name().to_string_lossy().starts_with(files::GOING)) {
        if let Err(error) = files::wipe_going(&entry.path()) {
            problems.push(format!("{} could not be removed: {error}.", entry.path().display()));
        }
    }
    // Only an empty one goes.
    let is_empty = std::fs::read_dir(&folder).is_ok_and(|mut names| names.next().is_none());
    if is_empty {
        drop(files::remove(&folder));
    }
    drop(files::sync_folder(esp));
    problems
}
