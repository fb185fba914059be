//! The Yocto layer says what the tree says: every crate with its sum, every unit and rule. It is read by
//! BitBake's own parser and judged by `oelint-adv`; what takes the other layers is in `scripts/test yocto`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{files_under, output, repo, tools_dir};
use serde_json::Value;
use toml::Table;

const RECIPE: &str = "recipes-holdfast/holdfast/holdfast_0.1.0.bb";

/// What `tests/yocto/recipe.py` sets by itself.
const GIVEN: [&str; 5] = ["BBPATH", "FILE", "LAYERDIR", "OVERRIDES", "THISDIR"];

fn layer() -> PathBuf {
    repo().join("yocto/meta-holdfast")
}

/// Every file of the layer that BitBake reads by itself.
fn read_by_bitbake() -> Result<Vec<PathBuf>> {
    let mut files = files_under(&layer())?;
    let ends = |file: &Path, end: &str| file.extension().is_some_and(|is| is == end);
    files.retain(|file| ends(file, "bb") || ends(file, "bbappend") || ends(file, "conf"));
    // systemd's own configuration, which is installed.
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "files"));
    Ok(files)
}

/// What a file of the layer sets, as BitBake sees it.
fn read(file: &Path, settings: &[String]) -> Result<Value> {
    let mut python = Command::new(tools_dir().join("yocto-venv/bin/python"));
    python.arg(repo().join("tests/yocto/recipe.py")).arg(layer()).arg(file).args(settings);
    serde_json::from_slice(&output(&mut python)?).with_context(|| file.display().to_string())
}

/// The recipe of the programs, with the folders that a build would give it.
fn recipe(source: &Path, build: &Path, image: &Path) -> Result<Value> {
    let settings = [
        "PN=holdfast".to_owned(),
        "PV=0.1.0".to_owned(),
        "BP=holdfast-0.1.0".to_owned(),
        "UNPACKDIR=/unpacked".to_owned(),
        "bindir=/usr/bin".to_owned(),
        "nonarch_libdir=/usr/lib".to_owned(),
        "nonarch_base_libdir=/usr/lib".to_owned(),
        "systemd_unitdir=/usr/lib/systemd".to_owned(),
        "systemd_system_unitdir=/usr/lib/systemd/system".to_owned(),
        "CARGO_TARGET_SUBDIR=release".to_owned(),
        format!("B={}", build.display()),
        format!("D={}", image.display()),
    ];
    let mut read = read(&layer().join(RECIPE), &settings)?;
    // The recipe sets S itself, and says in it where its sources are unpacked.
    let install = read["values"]["do_install"].as_str().context("there is no do_install")?;
    let install = install.replace("/unpacked/holdfast-0.1.0", &source.to_string_lossy());
    read["values"]["do_install"] = install.into();
    Ok(read)
}

#[test]
fn oelint_finds_nothing_in_the_layer() -> Result<()> {
    let mut lint = Command::new(tools_dir().join("yocto-venv/bin/oelint-adv"));
    lint.arg("--quiet").args(read_by_bitbake()?).current_dir(repo().join("yocto"));
    let output = lint.output()?;
    let findings = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && findings.trim().is_empty(), "oelint-adv found: {findings}");
    Ok(())
}

#[test]
fn bitbake_reads_every_file_of_the_layer() -> Result<()> {
    let files = read_by_bitbake()?;
    ensure!(files.len() >= 9, "only these are left: {files:?}");
    for file in files {
        // What the layer changes in others' recipes, it changes for its own distribution.
        let read = read(&file, &["OVERRIDES=class-target:holdfast-os".to_owned()])?;
        let is_set = |(name, value): (&String, &Value)| !GIVEN.contains(&&**name) && value != "";
        let sets = read["values"].as_object().is_some_and(|values| values.iter().any(is_set));
        ensure!(sets, "{} sets nothing", file.display());
    }
    Ok(())
}

#[test]
fn the_recipe_names_each_crate_of_the_lock_file_with_its_sum() -> Result<()> {
    let lock: Table = fs::read_to_string(repo().join("Cargo.lock"))?.parse()?;
    let mut locked = BTreeMap::new();
    for package in lock["package"].as_array().context("no packages")? {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let Some(sum) = text("checksum") else { continue };
        let (name, version) =
            text("name").zip(text("version")).context("a package without a name")?;
        locked.insert(format!("{name}-{version}"), sum.to_owned());
    }

    let recipe = recipe(repo(), Path::new("/build"), Path::new("/image"))?;
    let sums: BTreeMap<String, String> = serde_json::from_value(recipe["sums"].clone())?;
    ensure!(sums == locked, "the sums are not those of Cargo.lock: run scripts/yocto-crates");
    let sources = recipe["values"]["SRC_URI"].as_str().context("no SRC_URI")?;
    let mut fetched: Vec<String> = sources
        .split_whitespace()
        .filter_map(|source| Some(source.strip_prefix("crate://crates.io/")?.replace('/', "-")))
        .collect();
    fetched.sort();
    let wanted: Vec<String> = locked.into_keys().collect();
    ensure!(fetched == wanted, "the crates are not those of Cargo.lock: run scripts/yocto-crates");
    output(Command::new(repo().join("scripts/yocto-crates")).arg("--check"))?;
    Ok(())
}

#[test]
fn the_recipe_has_the_version_of_the_workspace() -> Result<()> {
    let workspace: Table = fs::read_to_string(repo().join("Cargo.toml"))?.parse()?;
    let version = workspace["workspace"]["package"]["version"].as_str().context("no version")?;
    ensure!(RECIPE.ends_with(&format!("_{version}.bb")), "the recipe is not of {version}");
    for (file, name) in [
        ("recipes-core/images/holdfast-image.bb", "HOLDFAST_VERSION"),
        ("conf/distro/holdfast-os.conf", "DISTRO_VERSION"),
    ] {
        let read = read(&layer().join(file), &[])?;
        ensure!(read["values"][name] == version, "{file} is of {}", read["values"][name]);
    }
    let appliance = format!("recipes-holdfast/holdfast-appliance/holdfast-appliance_{version}.bb");
    ensure!(layer().join(&appliance).exists(), "{appliance} is missing");
    Ok(())
}

/// Runs the recipe's own `do_install` on the tree.
#[test]
fn the_recipe_installs_every_unit_and_rule_of_the_tree() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (build, image) = (folder.path().join("build"), folder.path().join("image"));
    fs::create_dir_all(build.join("target/release"))?;
    for program in ["holdfast", "holdfast-volume", "holdfast-transcode", "holdfast-fake"] {
        fs::write(build.join("target/release").join(program), program)?;
    }
    let recipe = recipe(repo(), &build, &image)?;
    let install = recipe["values"]["do_install"].as_str().context("there is no do_install")?;
    let script = format!("set -e\nbbfatal() {{ echo \"$*\" >&2; exit 1; }}\n{install}");
    output(Command::new("sh").arg("-c").arg(script))?;

    let users = recipe["values"]["USERADD_PARAM:${PN}"]
        .as_str()
        .or(recipe["values"]["USERADD_PARAM:holdfast"].as_str());
    let groups = recipe["values"]["GROUPADD_PARAM:${PN}"]
        .as_str()
        .or(recipe["values"]["GROUPADD_PARAM:holdfast"].as_str());
    let users = format!("{};{}", users.context("no users")?, groups.unwrap_or_default());
    let preset =
        fs::read_to_string(image.join("usr/lib/systemd/system-preset/50-holdfast.preset"))?;
    let mut units = 0;
    for room in ["core", "service", "transcode", "volume"] {
        let folder = repo().join("node").join(room).join("systemd");
        for file in files_under(&folder)? {
            let name = file.strip_prefix(&folder)?.to_string_lossy().into_owned();
            let to = match name.rsplit_once('.') {
                Some((stem, kind @ ("sysusers" | "tmpfiles"))) => {
                    format!("usr/lib/{kind}.d/{stem}.conf")
                }
                _ => format!("usr/lib/systemd/system/{name}"),
            };
            let (is, wanted) = (fs::read_to_string(image.join(&to)), fs::read_to_string(&file)?);
            ensure!(is.is_ok_and(|is| is == wanted), "{} is not installed", file.display());
            let preset =
                preset.lines().filter(|line| line.ends_with(&format!("able {name}"))).count();
            let presets = usize::from(wanted.contains("\n[Install]\n"));
            ensure!(preset == presets, "{name} is in the preset {preset} times, not {presets}");
            for line in wanted.lines().filter(|_| name.ends_with(".sysusers")) {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let ["u" | "u!" | "g", user, ..] = words[..] {
                    let ends = |entry: &str| entry.trim().ends_with(&format!(" {user}"));
                    ensure!(users.split(';').any(ends), "the recipe does not add {user} of {name}");
                }
            }
            units += 1;
        }
    }
    ensure!(units >= 10, "only {units} units are in node/*/systemd");
    ensure!(preset.contains("disable holdfast-volume-site.socket\n"), "the preset is {preset}");
    for file in files_under(&repo().join("udev"))? {
        let place = match file.extension().and_then(|it| it.to_str()) {
            Some("rules") => "usr/lib/udev/rules.d",
            Some("hwdb") => "usr/lib/udev/hwdb.d",
            _ => continue,
        };
        let installed = image.join(place).join(file.file_name().context("a name")?);
        ensure!(fs::read(installed)? == fs::read(&file)?, "{} is not installed", file.display());
    }
    let programs = files_under(&image.join("usr/bin"))?;
    ensure!(programs.len() == 3, "the programs are {programs:?}");
    Ok(())
}
