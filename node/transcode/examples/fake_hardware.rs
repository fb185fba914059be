//! A GStreamer plugin for tests: elements under the names of real hardware's, in software.
//!
//! `HOLDFAST_FAKE_HARDWARE` says which are registered and how each behaves:
//! `vah264enc=good varenderD129h264enc=fail:40 vapostproc=good`. A behaviour begins at the frame after
//! its colon, or at once: `good`, `fail` (an element error), `mute` (an error without a word), `nosy`
//! (an element error where the jail holds), `hang`,
//! `garbage` (noise in place of the picture), `drop` (the frame is left out) or `crash`. Frames are in
//! the machine's memory, but their caps say the device's, as those of real hardware do: what links here
//! links there.
//!
//! It is no part of the node and is never installed.
#![allow(clippy::unwrap_used, missing_docs)] // test support: what cannot be set up has failed

use std::sync::atomic::{AtomicU64, Ordering};

use gst::glib;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;
use gstreamer_base::subclass::prelude::*;

/// Readable for everybody, but not for a job.
const OUTSIDE_THE_JAIL: &str = "/proc/self/status";
const MEMORIES: [&str; 2] = ["memory:VAMemory", "memory:CUDAMemory"];

/// How an element behaves, and from which frame on.
fn behaviour(name: &str) -> Option<(String, u64)> {
    let all = std::env::var("HOLDFAST_FAKE_HARDWARE").ok()?;
    let (_, how) =
        all.split_whitespace().filter_map(|i| i.split_once('=')).find(|(n, _)| *n == name)?;
    let (how, from) = how.split_once(':').unwrap_or((how, "0"));
    Some((how.to_owned(), from.parse().unwrap()))
}

/// Passes buffers on under caps of another memory, and misbehaves on the way.
mod stage {
    use super::*;

    #[derive(Default)]
    pub struct Stage {
        pub feature: std::sync::Mutex<Option<String>>,
        pub behaviour: std::sync::Mutex<(String, u64)>,
        frames: AtomicU64,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Stage {
        const NAME: &'static str = "HoldfastFakeStage";
        type Type = super::Stage;
        type ParentType = gst_base::BaseTransform;
    }

    impl ObjectImpl for Stage {}
    impl GstObjectImpl for Stage {}

    impl ElementImpl for Stage {
        fn pad_templates() -> &'static [gst::PadTemplate] {
            static ALL: std::sync::LazyLock<Vec<gst::PadTemplate>> =
                std::sync::LazyLock::new(|| {
                    [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                        .map(|(name, direction)| {
                            let presence = gst::PadPresence::Always;
                            gst::PadTemplate::new(name, direction, presence, &gst::Caps::new_any())
                                .unwrap()
                        })
                        .into()
                });
            &ALL
        }
    }

    impl BaseTransformImpl for Stage {
        const MODE: gst_base::subclass::BaseTransformMode =
            gst_base::subclass::BaseTransformMode::AlwaysInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = false;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let feature = self.feature.lock().unwrap().clone();
            let with = |feature: Option<&str>| {
                let mut caps = caps.copy();
                let out = caps.make_mut();
                for i in 0..out.size() {
                    out.set_features(i, Some(gst::CapsFeatures::new(feature)));
                }
                caps
            };
            let mut out = gst::Caps::new_empty();
            if direction == gst::PadDirection::Sink {
                // Real ones give frames in the machine's memory as well, where those are asked for.
                out.merge(with(feature.as_deref()));
                out.merge(with(None));
            } else {
                for memory in [None].into_iter().chain(MEMORIES.map(Some)) {
                    out.merge(with(memory));
                }
            }
            Some(filter.map_or_else(|| out.clone(), |f| f.intersect(&out)))
        }

        fn transform_ip(
            &self,
            buffer: &mut gst::BufferRef,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let (how, from) = self.behaviour.lock().unwrap().clone();
            if self.frames.fetch_add(1, Ordering::Relaxed) < from {
                return Ok(gst::FlowSuccess::Ok);
            }
            match how.as_str() {
                "fail" => {
                    let parent = self.obj().parent().and_downcast::<gst::Element>().unwrap();
                    gst::element_error!(parent, gst::StreamError::Encode, ("the device is lost"));
                    return Err(gst::FlowError::Error);
                }
                "nosy" => {
                    if let Err(e) = std::fs::File::open(OUTSIDE_THE_JAIL) {
                        let parent = self.obj().parent().and_downcast::<gst::Element>().unwrap();
                        gst::element_error!(
                            parent,
                            gst::StreamError::Encode,
                            ("{OUTSIDE_THE_JAIL}: {e}")
                        );
                        return Err(gst::FlowError::Error);
                    }
                }
                "mute" => return Err(gst::FlowError::Error),
                "hang" => loop {
                    std::thread::sleep(std::time::Duration::from_secs(3600));
                },
                "crash" => std::process::abort(),
                "drop" => return Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED),
                "garbage" => {
                    let mut map = buffer.map_writable().unwrap();
                    let mut noise = 1u32;
                    for byte in map.as_mut_slice() {
                        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        *byte = (noise >> 24) as u8;
                    }
                }
                _ => {}
            }
            Ok(gst::FlowSuccess::Ok)
        }
    }
}

glib::wrapper! {
    pub struct Stage(ObjectSubclass<stage::Stage>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

fn stage(feature: Option<&str>, how: (String, u64)) -> gst::Element {
    let stage: Stage = glib::Object::new();
    *stage.imp().feature.lock().unwrap() = feature.map(str::to_owned);
    *stage.imp().behaviour.lock().unwrap() = how;
    stage.upcast()
}

fn made(name: &str) -> gst::Element {
    gst::ElementFactory::make(name).build().unwrap()
}

/// What stands in for an element.
fn inside(name: &str, memory: &str) -> Vec<gst::Element> {
    let how = behaviour(name).unwrap_or(("good".into(), 0));
    let good = || ("good".to_owned(), 0);
    if name.ends_with("enc") {
        let encoder = made("x264enc");
        encoder.set_property_from_str("speed-preset", "ultrafast");
        // x264 writes its options into its films: by this one tests know them.
        encoder.set_property_from_str("option-string", "deadzone-inter=19");
        return vec![stage(None, how), made("videoconvert"), encoder];
    }
    if let Some(codec) = name.strip_suffix("dec") {
        let software = match codec {
            _ if codec.ends_with("vp8") => "vp8dec",
            _ if codec.ends_with("h265") => "avdec_h265",
            _ => "vp9dec",
        };
        return vec![made(software), made("videoconvert"), stage(Some(memory), how)];
    }
    vec![stage(None, good()), made("videoconvertscale"), stage(Some(memory), how)]
}

fn templates(name: &str, memory: &str) -> Vec<gst::PadTemplate> {
    let sizes = gst::IntRange::new(16, 4096);
    let raw = |memory: Option<&str>, format: Option<&str>| {
        let caps = gst::Caps::builder("video/x-raw").features(memory);
        let caps = caps.field("width", sizes).field("height", sizes);
        caps.field_if_some("format", format).build()
    };
    let either = |format: Option<&str>| {
        let mut caps = raw(Some(memory), format);
        caps.merge(raw(None, format));
        caps
    };
    let (sink, src) = if name.ends_with("enc") {
        (raw(Some(memory), Some("NV12")), gst::Caps::new_empty_simple("video/x-h264"))
    } else if name.ends_with("dec") {
        let media = match name {
            _ if name.contains("vp8") => "video/x-vp8",
            _ if name.contains("h265") => "video/x-h265",
            _ => "video/x-vp9",
        };
        let packets = gst::Caps::builder(media).field("width", sizes).field("height", sizes);
        (packets.build(), either(Some("NV12")))
    } else {
        (either(None), either(Some("NV12")))
    };
    [("sink", gst::PadDirection::Sink, sink), ("src", gst::PadDirection::Src, src)]
        .map(|(name, direction, caps)| {
            gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).unwrap()
        })
        .into()
}

fn properties() -> Vec<glib::ParamSpec> {
    let words = ["rate-control", "rc-mode"].map(|n| glib::ParamSpecString::builder(n).build());
    let numbers = ["qpi", "qpp", "qpb", "qp-i", "qp-p", "qp-b", "key-int-max", "gop-size"];
    let numbers = numbers.map(|n| glib::ParamSpecUInt::builder(n).build());
    let device = glib::ParamSpecString::builder("device-path").read_only().build();
    words.into_iter().chain(numbers).chain([device]).collect()
}

macro_rules! fakes {
    ($(($module:ident, $type:literal, $name:literal, $memory:literal, $device:literal)),* $(,)?) => {
        $(mod $module {
            use super::*;

            #[derive(Default)]
            pub struct Fake;

            #[glib::object_subclass]
            impl ObjectSubclass for Fake {
                const NAME: &'static str = $type;
                type Type = Object;
                type ParentType = gst::Bin;
            }

            glib::wrapper! {
                pub struct Object(ObjectSubclass<Fake>)
                    @extends gst::Bin, gst::Element, gst::Object,
                    @implements gst::ChildProxy;
            }

            impl ObjectImpl for Fake {
                fn properties() -> &'static [glib::ParamSpec] {
                    static ALL: std::sync::LazyLock<Vec<glib::ParamSpec>> =
                        std::sync::LazyLock::new(super::properties);
                    &ALL
                }

                fn set_property(&self, _: usize, _: &glib::Value, _: &glib::ParamSpec) {}

                fn property(&self, _: usize, known: &glib::ParamSpec) -> glib::Value {
                    if known.name() == "device-path" { $device.to_value() } else { known.default_value().clone() }
                }

                fn constructed(&self) {
                    self.parent_constructed();
                    let bin = self.obj();
                    let row = inside($name, $memory);
                    bin.add_many(&row).unwrap();
                    gst::Element::link_many(&row).unwrap();
                    for (pad, end) in [("sink", row.first()), ("src", row.last())] {
                        let template = bin.pad_template(pad).unwrap();
                        let target = end.unwrap().static_pad(pad).unwrap();
                        let ghost = gst::GhostPad::builder_from_template_with_target(&template, &target);
                        bin.add_pad(&ghost.unwrap().name(pad).build()).unwrap();
                    }
                }
            }

            impl GstObjectImpl for Fake {}

            impl ElementImpl for Fake {
                fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                    static ONE: std::sync::LazyLock<gst::subclass::ElementMetadata> =
                        std::sync::LazyLock::new(|| gst::subclass::ElementMetadata::new(
                            $name, "Test", "In software, for tests", "Holdfast",
                        ));
                    Some(&ONE)
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static ALL: std::sync::LazyLock<Vec<gst::PadTemplate>> =
                        std::sync::LazyLock::new(|| super::templates($name, $memory));
                    &ALL
                }
            }

            impl BinImpl for Fake {}
        })*

        fn register_all(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
            $(if behaviour($name).is_some() {
                let fake = $module::Object::static_type();
                gst::Element::register(Some(plugin), $name, gst::Rank::NONE, fake)?;
            })*
            Ok(())
        }
    };
}

fakes! {
    (va_enc, "FakeVaEnc", "vah264enc", "memory:VAMemory", "/dev/dri/renderD128"),
    (va_post, "FakeVaPost", "vapostproc", "memory:VAMemory", "/dev/dri/renderD128"),
    (va_vp8, "FakeVaVp8", "vavp8dec", "memory:VAMemory", "/dev/dri/renderD128"),
    (va_vp9, "FakeVaVp9", "vavp9dec", "memory:VAMemory", "/dev/dri/renderD128"),
    (va_h265, "FakeVaH265", "vah265dec", "memory:VAMemory", "/dev/dri/renderD128"),
    (va2_enc, "FakeVa2Enc", "varenderD129h264enc", "memory:VAMemory", "/dev/dri/renderD129"),
    (va2_post, "FakeVa2Post", "varenderD129postproc", "memory:VAMemory", "/dev/dri/renderD129"),
    (nv_enc, "FakeNvEnc", "nvh264enc", "memory:CUDAMemory", "cuda0"),
    (nv_up, "FakeNvUp", "cudaupload", "memory:CUDAMemory", "cuda0"),
    (nv_post, "FakeNvPost", "cudaconvertscale", "memory:CUDAMemory", "cuda0"),
    (nv_vp8, "FakeNvVp8", "nvvp8dec", "memory:CUDAMemory", "cuda0"),
}

fn init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    register_all(plugin)
}

gst::plugin_define!(
    fake_hardware,
    "Elements under the names of hardware's, for tests",
    init,
    "1.0",
    "unknown",
    "holdfast",
    "holdfast",
    "https://example.invalid"
);
