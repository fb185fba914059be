//! `holdfast-transcode`: one recording in, one .mp4, snapshot and filmstrip out.
//!
//! The service starts one such process for each job and talks to it over the socket that is its
//! standard input; the contract is `holdfast_core::job`. For a developer there is
//! `holdfast-transcode --input FILE --output DIR [--transform FILE.json] [--watermark PNG] [--no-mp4]
//! [--no-snapshot] [--no-filmstrip]`, which takes the same way through the code and prints the
//! reports as lines of JSON, `holdfast-transcode --warm`, which builds GStreamer's registry and
//! ends, and `holdfast-transcode --jail`, which says what would confine a job here (with
//! `--jail=required` it fails where anything is missing). `--candidates` and `--prove NAME` say what
//! there is to encode with and whether it works (`holdfast_core::hardware`).

mod aac;
mod clock;
mod clusters;
mod codec;
mod container;
mod encoders;
mod error;
mod even;
mod feed;
mod filmstrip;
mod fragments;
mod frame_size;
mod geometry;
mod growth;
mod h264;
mod layout;
mod limiter;
mod live;
mod loudness;
mod mp4;
mod nesting;
mod pictures;
mod pipeline;
mod plan;
mod probe;
mod retime;
mod snapshot;
mod socket;
mod source;
mod stream;
mod tone;
mod truncation;
mod verify;
mod vtt;
mod watch;
mod watermark;
mod waveform;
mod work;

use std::os::fd::AsFd;
use std::process::ExitCode;

use gstreamer as gst;
use holdfast_core::hardware::{Listing, Proof};
use holdfast_core::job::{
    Answer, Confinement, FILMSTRIP_NAME, Jail, Job, Limits, Outputs, Question, Report,
};
use holdfast_core::transform::Transform;

use holdfast_transcode::jail::{self, plugins::Loaded};

use error::Error;
use growth::Growth;
use socket::{LineReporter, Received, SocketReporter};
use watch::{Reporter, Watch};
use work::Files;

const USAGE: &str = "usage: holdfast-transcode --input FILE --output DIR [--no-mp4] \
    [--no-snapshot] [--no-filmstrip]\n           [--transform FILE.json] [--watermark PNG]\n       \
    holdfast-transcode --warm | --jail[=required] | --candidates | --prove NAME\n\
    Without arguments a job is expected on the socket that is standard input.";

enum Asked {
    Socket,
    Warm,
    Candidates,
    Prove(String),
    Jail(Jail),
    Files(Named),
}

/// What a developer named.
struct Named {
    input: String,
    output: String,
    transform: Option<String>,
    watermark: Option<String>,
    outputs: Outputs,
}

fn main() -> ExitCode {
    let result = arguments(std::env::args().skip(1)).and_then(run);
    let code = match &result {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("holdfast-transcode: {e}");
            1
        }
    };
    // Streaming threads of a pipeline that was given up may still run; none must hold up the end.
    std::process::exit(code)
}

fn arguments(mut args: impl Iterator<Item = String>) -> Result<Asked, Error> {
    let usage = || Error::Internal(USAGE.to_owned());
    let (mut input, mut output, mut transform, mut watermark) = (None, None, None, None);
    let mut outputs = Outputs { mp4: true, snapshot: true, filmstrip: true };
    let mut any = false;
    while let Some(arg) = args.next() {
        any = true;
        match arg.as_str() {
            "--warm" => return Ok(Asked::Warm),
            "--candidates" => return Ok(Asked::Candidates),
            "--prove" => return args.next().map(Asked::Prove).ok_or_else(usage),
            "--jail" => return Ok(Asked::Jail(Jail::BestEffort)),
            "--jail=required" => return Ok(Asked::Jail(Jail::Required)),
            "--input" => input = args.next(),
            "--output" => output = args.next(),
            "--transform" => transform = Some(args.next().ok_or_else(usage)?),
            "--watermark" => watermark = Some(args.next().ok_or_else(usage)?),
            "--no-mp4" => outputs.mp4 = false,
            "--no-snapshot" => outputs.snapshot = false,
            "--no-filmstrip" => outputs.filmstrip = false,
            _ => return Err(usage()),
        }
    }
    match (any, input, output) {
        (false, _, _) => Ok(Asked::Socket),
        (true, Some(input), Some(output)) => {
            Ok(Asked::Files(Named { input, output, transform, watermark, outputs }))
        }
        _ => Err(usage()),
    }
}

fn run(asked: Asked) -> Result<(), Error> {
    jail::plugins::list_plugins_without_help();
    jail::tie()?;
    match asked {
        // From all plugins installed and outside the jail, which could not write it.
        Asked::Warm => gst::init().map_err(no_gstreamer),
        Asked::Jail(how) => try_jail(how),
        Asked::Candidates => {
            confine_alone(Jail::BestEffort)?;
            print(&candidates()?)
        }
        Asked::Prove(name) => {
            confine_alone(Jail::BestEffort)?;
            print(&proof(&name)?)
        }
        Asked::Socket => match socket::receive()? {
            Received::Job(job, files) => do_job(&job, files, &mut SocketReporter),
            Received::Question(question) => {
                confine_alone(Jail::BestEffort)?;
                socket::end_with_the_service()?;
                match question {
                    Question::Candidates => reply(candidates()),
                    Question::Prove { name } => reply(proof(&name)),
                }
            }
        },
        Asked::Files(named) => {
            let transform = match &named.transform {
                Some(path) => work::read_transform(path)?,
                None => Transform::default(),
            };
            let mark = named.watermark.as_deref();
            let files = work::open_named(&named.input, &named.output, mark)?;
            let job = Job {
                outputs: named.outputs,
                transform,
                filmstrip_link: FILMSTRIP_NAME.to_owned(),
                limits: Limits::default(),
                hardware: None,
                live: false,
            };
            do_job(&job, files, &mut LineReporter)
        }
    }
}

fn do_job(job: &Job, files: Files, reporter: &mut dyn Reporter) -> Result<(), Error> {
    let mut watch = Watch::new(job.limits, reporter)?;
    if job.live {
        // Whatever has been recorded already comes first.
        jail::give_way();
    }
    if let Err(e) = confine(job, &files.output, &mut watch) {
        watch.report(&Report::Failed(e.failure()))?;
        return Err(e);
    }
    let growth = job.live.then(Growth::new);
    if let Some(growth) = growth.as_ref().filter(|_| watch.is_remote()) {
        socket::hear_of(growth)?;
    }
    work::work(job, files, growth.as_ref(), &mut watch)
}

fn candidates() -> Result<Listing, Error> {
    start_gstreamer()?;
    Ok(encoders::candidates::listing())
}

fn proof(name: &str) -> Result<Proof, Error> {
    jail::plugins::start_gstreamer_for_proofs().map_err(no_gstreamer)?;
    Ok(encoders::proof::prove(encoders::named(name)?))
}

/// Answers the service, and fails after that as a program on the command line would.
fn reply<T: serde::Serialize>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(answer) => socket::answer(&Answer::Answer(answer)),
        Err(error) => {
            socket::answer(&Answer::<T>::Failed(error.to_string()))?;
            Err(error)
        }
    }
}

fn print(answer: &impl serde::Serialize) -> Result<(), Error> {
    let line = serde_json::to_string(answer).map_err(Error::internal("cannot write an answer"))?;
    println!("{line}");
    Ok(())
}

/// From here on this process can do nothing but its job.
fn confine(job: &Job, output: &impl AsFd, watch: &mut Watch<'_>) -> Result<(), Error> {
    let confinement = jail::confine(Some(output.as_fd()), &job.limits)?;
    if let Some(line) = jail::missing(&confinement) {
        eprintln!("holdfast-transcode: {line}");
    }
    watch.report(&Report::Started(confinement))?;
    if watch.is_remote() {
        socket::end_with_the_service()?;
    }
    start_gstreamer()?;
    Ok(())
}

/// Enters the jail as for a job, but without a folder to make files in: a driver that needs what the jail
/// refuses has to fail its proof, not each job.
fn confine_alone(how: Jail) -> Result<Confinement, Error> {
    Ok(jail::confine(None, &Limits { jail: how, ..Limits::default() })?)
}

/// Enters the jail as for a job, starts GStreamer in it, and says what is in force.
fn try_jail(how: Jail) -> Result<(), Error> {
    let confinement = confine_alone(how)?;
    let plugins = start_gstreamer()?;
    let line = serde_json::json!({
        "landlock": confinement.landlock,
        "seccomp": confinement.seccomp,
        "network": confinement.network,
        "plugins": plugins.kept,
        "plugins_taken_out": plugins.taken_out,
    });
    println!("{line}");
    Ok(())
}

fn start_gstreamer() -> Result<Loaded, Error> {
    jail::plugins::start_gstreamer().map_err(no_gstreamer)
}

fn no_gstreamer(e: gst::glib::Error) -> Error {
    Error::internal("cannot start GStreamer")(e)
}
