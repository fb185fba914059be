//! Makes the man pages and the shells' completions from the command line's own definitions.
//!
//! They are written to `OUT_DIR` and compiled into the program, which hands them out
//! (`holdfast man`, `holdfast completions`): what is installed beside a program is always its own.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

#[path = "src/operate/cli/arguments/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod arguments;

const PROGRAM: &str = "holdfast";
/// When what the pages say was last changed; a build's own date would make no two builds alike.
const DATE: &str = "2026-11-29";
const EXIT_STATUS: &str = "\
.SH \"EXIT STATUS\"
.TP
0
Done.
.TP
1
It failed, or the node refused it; standard error says why and what to do.
.TP
2
Called wrongly.
.TP
3
There is no such thing.
.TP
4
No node answers at the socket.
";

/// What of libssh2 is done by aws-lc instead: see `chacha.c` in `node/openssl-sys`.
const WRAPPED: [&str; 2] = ["chacha_encrypt_bytes", "poly1305_auth"];

fn main() -> io::Result<()> {
    for function in WRAPPED {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/operate/cli/arguments");
    // What a support bundle says of the build.
    let [profile, target] = ["PROFILE", "TARGET"].map(|name| env::var(name).unwrap_or_default());
    println!("cargo::rustc-env=HOLDFAST_BUILD={profile} {target}");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    // `help` lists every other subcommand once more; the pages and completions need no such mirror.
    let mut command = arguments::Arguments::command().disable_help_subcommand(true);
    for (shell, name) in [
        (Shell::Bash, "completion.bash"),
        (Shell::Zsh, "completion.zsh"),
        (Shell::Fish, "completion.fish"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, PROGRAM, &mut text);
        fs::write(out.join(name), text)?;
    }
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    let mut list = String::from("&[\n");
    for (name, page) in pages {
        fs::write(out.join(&name), page)?;
        let path = format!("concat!(env!(\"OUT_DIR\"), \"/{name}\")");
        let _ = writeln!(list, "    ({name:?}, include_bytes!({path})),");
    }
    list.push_str("]\n");
    fs::write(out.join("man_pages.rs"), list)
}

/// A page for a command and for each of its subcommands.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let man = Man::new(command.clone())
        .date(DATE)
        .source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")))
        .manual("Holdfast");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend_from_slice(EXIT_STATUS.as_bytes());
    pages.push((man.get_filename(), tidied(page)?));
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        collect(each, pages)?;
    }
    Ok(())
}

/// What the renderer repeats before every section, once; and an empty line as one request, because
/// mandoc's lint minds three.
fn tidied(page: Vec<u8>) -> io::Result<Vec<u8>> {
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    let (start, rest) = page.split_once(".TH ").ok_or_else(|| io::Error::other("no title"))?;
    let rest = rest.replace(start, "").replace(".br\n\n.br\n", ".sp\n");
    Ok(format!("{start}.TH {rest}").into_bytes())
}
