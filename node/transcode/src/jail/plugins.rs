//! GStreamer with the plugins that this program has a use for, and no others.
//!
//! GStreamer 1.22 has no setting for this any more (its list of allowed plugins is gone from the
//! environment), so after it has read its registry everything that is not on the list is taken out
//! of it, in memory. What is not in the registry cannot be made by name and is not plugged by
//! anything on its own; the file of the registry stays as it is, for others.
//!
//! Of a plugin on the list some elements go too: those that read or write files, sockets and
//! cameras.

use gst::prelude::*;
use gstreamer as gst;

/// Plugins that may be loaded. Names of GStreamer 1.22 and 1.26.
const PLUGINS: &[(&str, &[&str])] = &[
    (
        "the core: pipelines, queues, tees; applications' own ends",
        &["staticelements", "coreelements", "coretracers", "app", "debug"],
    ),
    (
        "containers",
        &[
            "matroska",
            "isomp4",
            "ogg",
            "mpegtsdemux",
            "mpegpsdemux",
            "flv",
            "avi",
            "asf",
            "wavparse",
        ],
    ),
    ("parsers", &["audioparsers", "videoparsersbad"]),
    (
        "decoders",
        &[
            "vpx", "aom", "dav1d", "de265", "mpeg2dec", "jpeg", "png", "opus", "vorbis", "flac",
            "mpg123", "alaw", "mulaw", "faad", "theora", "speex", "adpcmdec", "amrwbdec", "libav",
        ],
    ),
    ("encoders in software", &["x264", "openh264", "voaacenc", "fdkaac"]),
    (
        "codecs in hardware",
        &["va", "vaapi", "nvcodec", "qsv", "msdk", "v4l2codecs", "video4linux2", "amfcodec"],
    ),
    (
        "pictures and sound on their way",
        &[
            "videoconvertscale",
            "videoconvert",
            "videoscale",
            "videorate",
            "videocrop",
            "videobox",
            "videofilter",
            "videomixer",
            "compositor",
            "alpha",
            "imagefreeze",
            "interlace",
            "deinterlace",
            "autoconvert",
            "audioconvert",
            "audioresample",
            "audiorate",
            "audiomixer",
            "volume",
        ],
    ),
];

/// Plugins that only proofs may load: they make streams for decoders to be tried with.
const PLUGINS_OF_PROOFS: &[&str] = &["x265"];

/// Elements that go although their plugin stays, by the beginning of the name.
const LEFT_OUT: &[(&str, &[&str])] = &[
    (
        "files and descriptors",
        &[
            "filesrc",
            "filesink",
            "fdsrc",
            "fdsink",
            "downloadbuffer",
            "dataurisrc",
            "multifile",
            "splitfile",
            "splitmux",
        ],
    ),
    ("ffmpeg's own containers, of which there are hundreds", &["avdemux_", "avmux_"]),
    ("cameras, screens and radios", &["v4l2src", "v4l2sink", "v4l2radio", "vaapisink"]),
];

/// What is left of GStreamer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Plugins on the list that are installed.
    pub kept: usize,
    /// Plugins that were taken out.
    pub taken_out: usize,
}

/// Has GStreamer list plugins by itself, where it has no registry, rather than by a program that it
/// starts: the jail lets it start none, and it would complain. To be called first.
pub fn list_plugins_without_help() {
    #[expect(unsafe_code, reason = "GStreamer reads this from the environment only")]
    // SAFETY: there is one thread, so nobody reads the environment meanwhile.
    unsafe {
        std::env::set_var("GST_REGISTRY_FORK", "no");
    }
}

/// Whether a plugin is on the list, or lies where whoever starts this program says that plugins
/// are: the service says nothing of the kind.
fn is_allowed(plugin: &gst::Plugin, more: &[&str]) -> bool {
    let name = plugin.plugin_name();
    let lists = PLUGINS.iter().map(|(_, names)| *names).chain([more]);
    let listed = lists.into_iter().any(|names| names.contains(&name.as_str()));
    let places = std::env::var_os("GST_PLUGIN_PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&places).filter(|place| place.is_absolute());
    listed || plugin.filename().is_some_and(|file| places.any(|place| file.starts_with(place)))
}

/// Starts GStreamer, within the jail, and takes out what is not on the list.
///
/// # Errors
/// What GStreamer says where it cannot be started.
pub fn start_gstreamer() -> Result<Loaded, gst::glib::Error> {
    start(&[])
}

/// The same for a proof, which reads no recording.
///
/// # Errors
/// What GStreamer says where it cannot be started.
pub fn start_gstreamer_for_proofs() -> Result<Loaded, gst::glib::Error> {
    start(PLUGINS_OF_PROOFS)
}

fn start(more: &[&str]) -> Result<Loaded, gst::glib::Error> {
    gst::init()?;
    let registry = gst::Registry::get();
    let (kept, gone): (Vec<_>, Vec<_>) =
        registry.plugins().into_iter().partition(|plugin| is_allowed(plugin, more));
    for plugin in &gone {
        registry.remove_plugin(plugin);
    }
    let leave_out = |registry: &gst::Registry, feature: &gst::PluginFeature| {
        let name = feature.name();
        if LEFT_OUT.iter().any(|(_, begins)| begins.iter().any(|b| name.starts_with(b))) {
            registry.remove_feature(feature);
        }
    };
    // A plugin adds all of its elements anew when it is loaded, on the first use of any of them.
    registry.connect_feature_added(leave_out);
    for feature in registry.features(gst::ElementFactory::static_type()) {
        leave_out(&registry, &feature);
    }
    Ok(Loaded { kept: kept.len(), taken_out: gone.len() })
}
