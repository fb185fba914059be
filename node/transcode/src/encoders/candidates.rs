//! Which families and devices GStreamer has registered elements for. Looks at names alone and opens
//! no device, so that nothing in here can hang.

use std::collections::BTreeSet;

use gst::prelude::*;
use gstreamer as gst;
use holdfast_core::hardware::{Family, Listing};

use super::families::{ALL, Found, Parts};

/// Most devices of one family that are looked at.
const DEVICES_MAX: usize = 16;

/// All candidates, best first.
pub(super) fn all() -> Vec<Found> {
    let names = registered();
    ALL.iter().flat_map(|parts| of(parts, &names)).collect()
}

/// What the service is told.
pub(crate) fn listing() -> Listing {
    let (major, minor, micro, _) = gst::version();
    Listing {
        gstreamer: format!("{major}.{minor}.{micro}"),
        candidates: all().into_iter().map(|found| found.candidate).collect(),
    }
}

/// The candidate with this name.
pub(super) fn find(name: &str) -> Option<Found> {
    all().into_iter().find(|found| found.candidate.name == name)
}

/// A software encoder, if it is installed.
pub(super) fn software(family: Family) -> Option<Found> {
    let parts = ALL.iter().find(|parts| parts.family == family)?;
    gst::ElementFactory::find(parts.encoder).map(|_| Found::new(parts, ""))
}

fn registered() -> BTreeSet<String> {
    let features = gst::Registry::get().features(gst::ElementFactory::static_type());
    features.iter().map(|feature| feature.name().to_string()).collect()
}

fn of(parts: &'static Parts, names: &BTreeSet<String>) -> Vec<Found> {
    // A family without an encoder of its own is found by its decoders.
    let templates: Vec<&str> = if parts.family == Family::V4l2Stateless {
        if !names.contains(parts.encoder) {
            return Vec::new();
        }
        parts.decoders.iter().map(|(_, template)| *template).collect()
    } else {
        vec![parts.encoder]
    };
    let tokens: BTreeSet<String> =
        templates.iter().flat_map(|template| tokens(template, names)).collect();
    tokens.iter().take(DEVICES_MAX).map(|token| Found::new(parts, token)).collect()
}

/// What stands for `{}` in registered names: nothing for the first device.
fn tokens(template: &str, names: &BTreeSet<String>) -> Vec<String> {
    let Some((before, after)) = template.split_once("{}") else {
        return names.contains(template).then(String::new).into_iter().collect();
    };
    let token = |name: &String| {
        let token = name.strip_prefix(before)?.strip_suffix(after)?;
        is_token(token).then(|| token.to_owned())
    };
    names.iter().filter_map(token).collect()
}

/// `renderD129`, `device1`, `video12`, or nothing; not the `sl` of `v4l2slh264dec`.
fn is_token(token: &str) -> bool {
    let number = ["renderD", "device", "video"].iter().find_map(|kind| token.strip_prefix(kind));
    token.is_empty()
        || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_names() {
        let names: BTreeSet<String> = [
            "vah264enc",
            "varenderD129h264enc",
            "vah264lpenc",
            "nvh264device1enc",
            "v4l2video12h264enc",
            "v4l2slh264dec",
            "v4l2slvideo3vp9dec",
            "x264enc",
        ]
        .map(str::to_owned)
        .into();
        let found: Vec<String> = ALL
            .iter()
            .flat_map(|parts| of(parts, &names))
            .map(|found| found.candidate.name)
            .collect();
        assert_eq!(
            found,
            [
                "va",
                "va:renderD129",
                "va-lp",
                "nvcodec:device1",
                "v4l2:video12",
                "v4l2-stateless",
                "v4l2-stateless:video3",
                "x264",
            ]
        );
    }

    #[test]
    fn what_is_no_device_is_none() {
        assert!(is_token("") && is_token("renderD128") && is_token("device0"));
        assert!(!is_token("sl") && !is_token("renderD") && !is_token("video1x"));
    }
}
