//! What is installed beside the program: man pages and completions, checked by other people's tools.

#![allow(missing_docs, clippy::unwrap_used)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &str, arguments: &[&OsStr]) -> Output {
    let called = Command::new(program).args(arguments).output();
    called.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"))
}

fn holdfast(arguments: &[&str]) -> Output {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run(env!("CARGO_BIN_EXE_holdfast"), &arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pages(folder: &Path) -> Vec<std::path::PathBuf> {
    let said = holdfast(&["man", "--to", folder.to_str().unwrap()]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    std::fs::read_dir(folder).unwrap().map(|page| page.unwrap().path()).collect()
}

#[test]
fn mandoc_has_nothing_to_say_about_the_man_pages() {
    let dir = tempfile::tempdir().unwrap();
    let pages = pages(&dir.path().join("man1"));
    assert!(pages.len() > 40, "only {}", pages.len());
    let mut arguments =
        vec![OsStr::new("-T"), OsStr::new("lint"), OsStr::new("-W"), OsStr::new("warning")];
    arguments.extend(pages.iter().map(|page| page.as_os_str()));
    let said = run("mandoc", &arguments);
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
}

#[test]
fn a_man_page_says_what_help_says() {
    let dir = tempfile::tempdir().unwrap();
    pages(dir.path());
    let page = dir.path().join("holdfast-recordings-hold.1");
    let said = run("mandoc", &[OsStr::new("-T"), OsStr::new("ascii"), page.as_os_str()]);
    // Bold is written as a letter over itself.
    let said = text(&said.stdout);
    let plain: String = said
        .split('\u{8}')
        .map(|part| {
            let mut chars = part.chars();
            chars.next_back();
            chars.as_str()
        })
        .collect();
    for words in ["Put a recording under legal hold", "--reason <TEXT>", "--json", "EXIT STATUS"] {
        assert!(plain.contains(words), "{words:?} is not in {plain}");
    }
    let help = text(&holdfast(&["recordings", "hold", "--help"]).stdout);
    assert!(help.contains("Put a recording under legal hold") && help.contains("--reason <TEXT>"));
}

#[test]
fn every_shell_takes_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let said = holdfast(&["completions", shell]);
        let file = dir.path().join(shell);
        std::fs::write(&file, &said.stdout).unwrap();
        let parsed = run(shell, &[OsStr::new("-n"), file.as_os_str()]);
        assert!(parsed.status.success() && parsed.stderr.is_empty(), "{}", text(&parsed.stderr));
        assert!(text(&said.stdout).contains("lifecycle-days"), "{shell}");
    }
}

#[test]
fn bash_completes_what_can_come_next() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("completion.bash");
    std::fs::write(&file, holdfast(&["completions", "bash"]).stdout).unwrap();
    let script = format!(
        ". {} && COMP_WORDS=(holdfast recordings l) COMP_CWORD=2 && \
         _holdfast holdfast l recordings && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let said = run("bash", &[OsStr::new("-c"), OsStr::new(&script)]);
    assert_eq!(text(&said.stdout), "list\nlift\n", "{}", text(&said.stderr));
}
