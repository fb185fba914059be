//! What the kernel says of devices: their drivers, and whether anything has changed since a proof.

use std::path::Path;

/// Most devices of a kind that are looked at.
const DEVICES_MAX: usize = 64;

/// What a proof depends on beside GStreamer: a change of any of it makes proofs worthless.
pub(super) fn identity() -> Vec<String> {
    let mut all = vec![line("kernel", "/proc/sys/kernel/osrelease")];
    all.push(line("nvidia", "/proc/driver/nvidia/version"));
    for name in names("/sys/class/drm", "renderD") {
        let device = format!("/sys/class/drm/{name}/device");
        let parts = ["vendor", "device", "revision", "uevent"];
        all.extend(parts.map(|part| line(&name, &format!("{device}/{part}"))));
        all.push(format!("{name} driver {}", driver_at(&device).unwrap_or_default()));
    }
    for name in names("/sys/class/video4linux", "video") {
        all.push(line(&name, &format!("/sys/class/video4linux/{name}/name")));
    }
    // VA-API's drivers are programs of their own, which a package replaces.
    for folder in ["/usr/lib/x86_64-linux-gnu/dri", "/usr/lib/aarch64-linux-gnu/dri"] {
        for name in names(folder, "").into_iter().filter(|name| name.ends_with("_drv_video.so")) {
            let size =
                std::fs::metadata(Path::new(folder).join(&name)).map_or(0, |data| data.len());
            all.push(format!("{name} {size}"));
        }
    }
    all
}

/// The kernel's driver of a device that an element names, such as `i915`.
pub(super) fn driver(device: &str) -> Option<String> {
    if device.starts_with("cuda") {
        return Some("nvidia".into());
    }
    let name = Path::new(device).file_name()?.to_str()?;
    let class = if name.starts_with("video") { "video4linux" } else { "drm" };
    driver_at(&format!("/sys/class/{class}/{name}/device"))
}

fn driver_at(device: &str) -> Option<String> {
    let link = std::fs::read_link(format!("{device}/driver")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

fn names(folder: &str, prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut names: Vec<String> = entries
        .filter_map(name)
        .filter(|name| name.starts_with(prefix))
        .take(DEVICES_MAX)
        .collect();
    names.sort();
    names
}

fn line(what: &str, path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    format!("{what} {}", text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_itself() {
        assert_eq!(identity(), identity());
        assert!(identity()[0].len() > "kernel ".len());
    }
}
