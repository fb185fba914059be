//! `holdfast provision take`, as its unit calls it: the built program, real folders, and its death at
//! every step.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const GOOD: &str = "[vault]\npath = \"/srv/a\"\n";
const OTHER: &str = "[vault]\npath = \"/srv/b\"\n";
const WITH_SECRET: &str = "[vault]\npath = \"/srv/a\"\n[[environments]]\nid = \"demo\"\nhash = \"h\"\n\
    [[webhooks]]\nid = \"h\"\nenv_id = \"demo\"\n\
    url = \"https://hooks.example/h\"\n\
    secret_file = \"/run/credentials/holdfast.service/front-hook\"\n";

struct Machine {
    dir: tempfile::TempDir,
}

struct Said {
    code: i32,
    out: String,
    outcome: Value,
}

impl Machine {
    fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(folder: &Path) -> Self {
        let dir = tempfile::tempdir_in(folder).unwrap();
        for name in ["stick", "esp", "report"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        nix::unistd::unlink(&self.path(name)).unwrap();
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut arguments = vec!["provision".to_owned(), "take".into()];
        for (flag, name) in [
            ("--inbox", "inbox"),
            ("--from", "stick"),
            ("--from", "esp"),
            ("--to", "to"),
            ("--esp", "esp"),
            ("--report", "report"),
        ] {
            arguments.extend([flag.to_owned(), path(name)]);
        }
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    }

    fn take_with(&self, more: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        let output = command.args(self.arguments(more)).output().unwrap();
        let outcome = fs::read(self.path("report/outcome.json")).unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            outcome: serde_json::from_slice(&outcome).unwrap(),
        }
    }

    fn take(&self) -> Said {
        self.take_with(&[])
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("to/holdfast.toml")).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_box_without_anything_waits_and_says_for_what() {
    let it = Machine::new();
    let said = it.take();
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (3, "nothing"));
    assert!(said.out.contains("HOLDFAST-SETUP"), "{}", said.out);
    assert!(!it.path("to/holdfast.toml").exists());
    // Windows' editor has given it another name than it shows.
    it.put("esp/holdfast.toml.txt", GOOD);
    let said = it.take();
    assert_eq!(said.code, 3);
    assert!(said.out.contains("rename it to holdfast.toml"), "{}", said.out);
    let text = fs::read_to_string(it.path("esp/outcome.txt")).unwrap();
    assert!(text.contains("rename it") && text.contains("\r\n"), "{text}");
}

#[test]
fn a_configuration_is_taken_once_with_its_secrets_and_modes() {
    let it = Machine::new();
    it.put("esp/holdfast.toml", WITH_SECRET);
    it.put("esp/provision.toml", "recovery_key = \"console\"\nhostname = \"front-1\"\n");
    it.put("esp/secrets/front-hook", "s3cret");
    it.put("esp/secrets/._front-hook", "what macOS leaves");
    let said = it.take();
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (0, "taken"), "{}", said.out);
    assert_eq!(it.config(), WITH_SECRET);
    assert_eq!(fs::read(it.path("to/secrets/front-hook")).unwrap(), b"s3cret");
    assert!(!it.path("to/secrets/._front-hook").exists());
    assert_eq!(mode(&it.path("to/secrets/front-hook")), 0o600);
    assert_eq!(mode(&it.path("to/secrets")), 0o700);
    assert_eq!(mode(&it.path("to/holdfast.toml")), 0o640);
    assert_eq!(mode(&it.path("to")), 0o750);
    let environment = fs::read_to_string(it.path("report/provision.env")).unwrap();
    assert_eq!(environment, "HOLDFAST_RECOVERY_KEY=console\nHOLDFAST_HOSTNAME=front-1\n");
    for name in ["to/outcome.json", "esp/outcome.json", "report/outcome.json", "to/outcome.txt"] {
        let text = fs::read_to_string(it.path(name)).unwrap();
        assert!(!text.contains("s3cret") && text.contains("1 secret"), "{name}: {text}");
    }
    let before = fs::read_link(it.path("to/current")).unwrap();
    let said = it.take();
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (0, "unchanged"));
    assert_eq!(fs::read_link(it.path("to/current")).unwrap(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a mark, no recording")]
fn whether_http3_is_wanted_is_told_to_its_socket() {
    let it = Machine::new();
    let mark = it.path("report/http3");
    it.put("esp/holdfast.toml", GOOD);
    assert_eq!(it.take().code, 0);
    assert!(!mark.exists());
    let wanted = format!("[node]\nhttp3 = true\n{GOOD}");
    it.put("esp/holdfast.toml", &wanted);
    assert_eq!(it.take().outcome["state"], "taken");
    assert!(mark.exists());
    // The folder is in memory: it is told at each start.
    fs::remove_file(&mark).unwrap();
    assert_eq!(it.take().outcome["state"], "unchanged");
    assert!(mark.exists());
    // What cannot be used changes nothing.
    it.put("esp/holdfast.toml", "[node]\nhttp3 = 3\n");
    assert_eq!(it.take().outcome["state"], "kept");
    assert!(mark.exists());
    it.put("esp/holdfast.toml", GOOD);
    assert_eq!(it.take().outcome["state"], "taken");
    assert!(!mark.exists());
}

#[test]
fn secrets_go_from_the_esp_once_they_are_safe_and_stay_known() {
    let it = Machine::new();
    it.put("esp/holdfast.toml", WITH_SECRET);
    it.put("esp/secrets/front-hook", "s3cret");
    assert_eq!(it.take_with(&["--remove-secrets"]).code, 0);
    assert!(!it.path("esp/secrets").exists());
    let said = it.take_with(&["--remove-secrets"]);
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (0, "unchanged"));
    // Edited without the secret, which came earlier.
    let edited = WITH_SECRET.replace("/srv/a", "/srv/b");
    it.put("esp/holdfast.toml", &edited);
    assert_eq!(it.take().outcome["state"], "taken");
    assert_eq!(it.config(), edited);
    assert_eq!(fs::read(it.path("to/secrets/front-hook")).unwrap(), b"s3cret");
    // Not named any more: gone, and its old set too.
    it.put("esp/holdfast.toml", GOOD);
    assert_eq!(it.take().outcome["state"], "taken");
    assert_eq!(fs::read_dir(it.path("to/secrets")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(it.path("to/sets")).unwrap().count(), 1);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_a_good_one_stays() {
    let it = Machine::new();
    it.put("esp/holdfast.toml", "[vault]\npath = \"/srv/a\"\nfre_bytes_min = 1\n");
    let said = it.take();
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (4, "broken"));
    let problem = said.outcome["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("holdfast.toml, line 3, column 1: unknown field"), "{problem}");
    assert!(said.out.contains(problem), "{}", said.out);
    it.put("esp/holdfast.toml", GOOD);
    assert_eq!(it.take().code, 0);
    for (config, settings, part) in [
        ("[vault\n", "", "line 1"),
        (WITH_SECRET, "", "no file secrets/front-hook"),
        (OTHER, "recovery_key = \"page\"", "provision.toml, line 1"),
        (OTHER, "hostname = \"a/b\"", "hostname"),
    ] {
        it.put("esp/holdfast.toml", config);
        it.put("esp/provision.toml", settings);
        let said = it.take();
        assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (0, "kept"));
        assert!(said.outcome["problems"][0].as_str().unwrap().contains(part), "{}", said.out);
        assert!(said.out.contains("stays in use"), "{}", said.out);
        assert_eq!(it.config(), GOOD);
    }
}

#[test]
fn links_devices_and_floods_are_refused() {
    let it = Machine::new();
    let broken = |part: &str| {
        let said = it.take();
        assert_eq!(said.code, 4, "{}", said.out);
        assert!(said.out.contains(part), "{part}: {}", said.out);
    };
    it.put("elsewhere", GOOD);
    symlink(it.path("elsewhere"), it.path("esp/holdfast.toml")).unwrap();
    broken("holdfast.toml is no regular file");
    it.remove("esp/holdfast.toml");
    nix::unistd::mkfifo(&it.path("esp/holdfast.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    broken("holdfast.toml is no regular file");
    it.remove("esp/holdfast.toml");
    it.put("esp/holdfast.toml", vec![b'#'; (1 << 20) + 1]);
    broken("larger than 1048576 bytes");
    it.put("esp/holdfast.toml", GOOD);
    symlink("/etc", it.path("esp/secrets")).unwrap();
    broken("secrets is no folder");
    it.remove("esp/secrets");
    it.put("esp/secrets/Front Hook", "");
    broken("a-z, 0-9");
    it.remove("esp/secrets/Front Hook");
    symlink("/etc/shadow", it.path("esp/secrets/a")).unwrap();
    broken("secrets/a is no regular file");
    it.remove("esp/secrets/a");
    it.put("esp/secrets/a", vec![0; (64 << 10) + 1]);
    broken("secrets/a is larger than 65536 bytes");
    for index in 0..65 {
        it.put(&format!("esp/secrets/{index}"), "");
    }
    it.remove("esp/secrets/a");
    broken("more than 64 files");
    assert!(!it.path("to/holdfast.toml").exists());
}

#[test]
fn a_stick_wins_and_its_going_brings_nothing_old_back() {
    let it = Machine::new();
    it.put("esp/holdfast.toml", GOOD);
    it.put("stick/holdfast.toml", OTHER);
    assert_eq!(it.take().outcome["state"], "taken");
    assert_eq!(it.config(), OTHER);
    it.remove("stick/holdfast.toml");
    let said = it.take();
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (0, "unchanged"));
    assert_eq!(it.config(), OTHER);
    let newer = "[vault]\npath = \"/srv/c\"\n";
    it.put("esp/holdfast.toml", newer);
    assert_eq!(it.take().outcome["state"], "taken");
    assert_eq!(it.config(), newer);
    // The page's inbox goes before all, and is empty afterwards.
    it.put("inbox/set/holdfast.toml", GOOD);
    assert_eq!(it.take().outcome["state"], "taken");
    assert_eq!(it.config(), GOOD);
    assert!(!it.path("inbox/set").exists());
    assert_eq!(it.take().outcome["state"], "unchanged");
    assert_eq!(it.config(), GOOD);
}

#[test]
fn what_was_damaged_is_said_and_taken_anew() {
    let it = Machine::new();
    it.put("esp/holdfast.toml", GOOD);
    assert_eq!(it.take().code, 0);
    fs::write(it.path("to/holdfast.toml"), "[vault]\npath = \"/srv/x\"\n").unwrap();
    let said = it.take();
    assert_eq!((said.code, said.outcome["state"].as_str().unwrap()), (0, "taken"));
    assert!(said.out.contains("damaged"), "{}", said.out);
    assert_eq!(it.config(), GOOD);
}

/// Dies at the n-th call of each kind that changes something on disk, until it dies no more.
#[test]
fn death_at_any_step_leaves_the_old_or_the_new() {
    let old = [("config", WITH_SECRET.to_owned()), ("secret", "old".to_owned())];
    let new = [("config", WITH_SECRET.replace("/srv/a", "/srv/b")), ("secret", "new".to_owned())];
    let mut deaths = 0;
    for call in ["fsync", "rename", "symlink", "unlink", "unlinkat"] {
        for nth in 1.. {
            // In memory: what counts here is the order of the calls, and a disk takes its time.
            let it = Machine::within(Path::new("/dev/shm"));
            it.put("esp/holdfast.toml", &old[0].1);
            it.put("esp/secrets/front-hook", &old[1].1);
            assert_eq!(it.take().code, 0);
            it.put("esp/holdfast.toml", &new[0].1);
            it.put("esp/secrets/front-hook", &new[1].1);
            let mut command = Command::new("strace");
            command.args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e"]);
            command.arg(format!("inject={call}:signal=SIGKILL:when={nth}"));
            command.arg(env!("CARGO_BIN_EXE_holdfast")).args(it.arguments(&["--remove-secrets"]));
            let ended = command.output().expect("strace is in packages_test of scripts/lib.sh");
            let secret = fs::read_to_string(it.path("to/secrets/front-hook")).unwrap();
            let is = [("config", it.config()), ("secret", secret)];
            assert!(is == old || is == new, "{call} {nth}: {is:?}");
            // What was removed from the ESP is safe.
            let on_esp = fs::read_to_string(it.path("esp/secrets/front-hook"));
            assert!(on_esp.is_ok_and(|text| text == "new") || is == new, "{call} {nth}");
            let again = it.take_with(&["--remove-secrets"]);
            assert_eq!(again.code, 0, "{call} {nth}: {}", again.out);
            assert_eq!(it.config(), new[0].1, "{call} {nth}");
            let secret = fs::read_to_string(it.path("to/secrets/front-hook")).unwrap();
            assert_eq!(secret, "new", "{call} {nth}");
            assert!(!it.path("esp/secrets/front-hook").exists(), "{call} {nth}");
            if ended.status.success() {
                break;
            }
            deaths += 1;
            assert!(nth < 100, "{call}");
        }
    }
    assert!(deaths > 30, "{deaths}");
}
