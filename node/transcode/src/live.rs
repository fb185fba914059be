//! A job about a recording that is still coming in.
//!
//! The recording's beginning is probed and planned as if it were all; then the one pass runs over what
//! comes in. At its end all is known that a probe would have found out, and the plan for the whole is made:
//! only if it is the one that was followed is the film any good. Otherwise the job fails as `not_live`, and
//! a job of the usual kind makes everything afterwards. What needs to know the recording's length (a
//! filmstrip's tiles) is made at the end of the few clusters or fragments that hold it.

use std::fs::File;
use std::sync::Arc;

use holdfast_core::job::{Job, MAIN_NAME, Made};
use holdfast_core::transform::{Loudness, Moment, Transform};

use crate::container;
use crate::encoders::Wish;
use crate::error::Error;
use crate::feed::{Feed, Growing};
use crate::filmstrip::Share;
use crate::growth::Growth;
use crate::layout::Layout;
use crate::pipeline::{Outcome, Pictures, Written, run, run_live};
use crate::plan::{Plan, VideoPlan, plan};
use crate::probe::{Scan, VideoScan, read_through, summarize, turn_by_matrix};
use crate::source::Input;
use crate::verify::{MadeWith, Verified, verify};
use crate::watch::{Ended, Watch};
use crate::watermark::Picture;
use crate::work::{self, Files, REMARKS_MAX, create, facts, sync_folder};

/// What is looked at first of a recording.
const HEAD_BYTES_MIN: u64 = 128 << 10;
/// By what a recording is known at the latest.
const HEAD_BYTES_MAX: u64 = 64 << 20;
/// So much of every stream tells what the rest is like.
const HEAD_NS: i64 = 3_000_000_000;
/// A stream that has not begun by then may never.
const HEAD_SILENT_NS: i64 = 10_000_000_000;

/// Does a job while its recording comes in.
pub(crate) fn make(
    job: &Job,
    files: Files,
    growth: &Arc<Growth>,
    watch: &mut Watch<'_>,
) -> Result<Made, Error> {
    check(job)?;
    let watermark = work::watermark(job, files.watermark)?;
    let file = File::from(files.input);
    let head = head(&file, growth, &job.transform, watch)?;
    let planned = plan(&head, job.outputs, &job.transform, None)?;
    // What the whole recording has to be known for is made at the end.
    let first = Plan {
        filmstrip: false,
        snapshot: planned.snapshot && job.transform.snapshot.at == Moment::First,
        ..planned.clone()
    };
    let pass = Pass { job, file, growth, head, planned, watermark, output: &files.output };
    let made = pass.run(&first, watch)?;
    sync_folder(&files.output)?;
    Ok(made)
}

fn not_live(why: impl Into<String>) -> Error {
    Error::NotLive(why.into())
}

/// Refuses what cannot be known before the end, whatever the recording.
fn check(job: &Job) -> Result<(), Error> {
    job.transform.check().map_err(|e| Error::Internal(format!("the job's transform: {e}")))?;
    let (video, audio) = (&job.transform.video, &job.transform.audio);
    if !job.outputs.mp4 {
        return Err(not_live("no film is wanted of it"));
    }
    if video.constant_fps {
        return Err(not_live("even distances (video.constant_fps) depend on the whole recording"));
    }
    if audio.loudness == Loudness::R128 && !audio.mute {
        return Err(not_live("loudness (audio.loudness) is measured over the whole recording"));
    }
    Ok(())
}

/// Waits until enough of a recording is there to tell what it is, and scans that.
fn head(
    file: &File,
    growth: &Growth,
    want: &Transform,
    watch: &mut Watch<'_>,
) -> Result<Scan, Error> {
    let mut bytes = HEAD_BYTES_MIN;
    loop {
        while !watch.wait(growth, bytes)? {}
        let told = growth.told();
        let there = bytes.min(told.durable);
        let container = container::identify(&*Input::beginning(file, there)?)?;
        let Some(mut layout) = Layout::of(container) else {
            return Err(not_live("only WebM, Matroska and MP4 are read while they come in"));
        };
        layout.walk(file, there);
        if let Some(why) = layout.refused() {
            return Err(not_live(why));
        }
        let input = Input::beginning(file, layout.whole(there))?;
        let (streams, ended) = match input.bytes {
            0 => (Vec::new(), Ended::Eos),
            _ => read_through(&input, container, watch)?,
        };
        let span = |s: &crate::stream::Stream| s.packets.last_ns - s.packets.first_ns;
        let longest = streams.iter().map(span).max().unwrap_or(0);
        let silent = streams.iter().any(|s| s.packets.count == 0);
        let is_known = longest >= HEAD_NS && !layout.misses_a_track();
        if is_known && (!silent || longest >= HEAD_SILENT_NS) {
            let mut scan = summarize(container, &input, &streams, &ended)?;
            turn_by_matrix(&mut scan, &input.file, input.bytes);
            if want.audio.mute && scan.video.is_some() {
                scan.audio = None;
            }
            return Ok(scan);
        }
        if told.ended && bytes >= told.durable {
            return Err(not_live("it ended before there was anything to gain"));
        }
        if bytes >= HEAD_BYTES_MAX {
            return Err(not_live("its beginning does not tell what it is"));
        }
        bytes *= 2;
    }
}

/// A recording that is being transcoded as it comes in.
struct Pass<'a> {
    job: &'a Job,
    file: File,
    growth: &'a Arc<Growth>,
    head: Scan,
    planned: Plan,
    watermark: Option<Arc<Picture>>,
    output: &'a std::os::fd::OwnedFd,
}

impl Pass<'_> {
    fn run(&self, first: &Plan, watch: &mut Watch<'_>) -> Result<Made, Error> {
        let wish =
            Wish { hardware: self.job.hardware.clone(), quality: self.job.transform.video.quality };
        let mark = self.watermark.as_ref();
        let container =
            self.head.container.ok_or_else(|| Error::Internal("no container".into()))?;
        let layout = Layout::of(container);
        let layout = layout.ok_or_else(|| Error::Internal("it has no parts".into()))?;
        let input = Input::growing(&self.file, self.growth, layout)?;
        let main = create(self.output, MAIN_NAME)?;
        let read_back = main.try_clone().map_err(Error::disk("cannot open the .mp4 again"))?;
        watch.grow(Arc::clone(self.growth), self.head.pixels_per_s());
        let Feed::Growing(growing) = &input.feed else {
            return Err(Error::Internal("it does not grow".into()));
        };
        let mut source = None;
        let (outcome, scan, plan) =
            run_live(&input, (&self.head, first), mark, main, &wish, watch, |streams, ended| {
                let bytes = self.growth.told().durable;
                growing.with_layout(|layout| match layout.refused() {
                    Some(why) => Err(not_live(why)),
                    None if layout.ends_at(bytes) => Ok(()),
                    None => Err(not_live("it is cut off in the middle of a frame")),
                })?;
                let mut scan = summarize(container, &input, streams, ended)?;
                turn_by_matrix(&mut scan, &self.file, bytes);
                source = Some(facts(&scan));
                let plan = self.settle(&mut scan)?;
                Ok((scan, plan))
            })?;
        let Outcome { pictures, encoder, decoder, remarks, cut, lost } = outcome;
        if cut {
            return Err(not_live("not all of it could be read or decoded"));
        }
        let late = self.late(&scan, &plan, growing, &wish, watch)?;
        let link = &self.job.filmstrip_link;
        let open = |name: &str| create(self.output, name);
        let written = merge(
            pictures.lasting(scan.duration_ns()).write(link, open)?,
            late.map(|p| p.write(link, open)),
        )?;
        let mut said = plan.remarks.clone();
        said.extend(remarks);
        said.extend(written.remarks);
        let with = MadeWith { encoder, decoder, cut, lost };
        let Verified { mp4, remarks: more } = verify(&read_back, &scan, &plan, with)?;
        said.extend(more);
        said.truncate(REMARKS_MAX);
        let source = source.ok_or_else(|| Error::Internal("nothing was learnt".into()))?;
        let Written { snapshot, filmstrip, filmstrip_vtt, .. } = written;
        let (remarks, is_damaged) = (said, scan.cut);
        let mp4 = Some(mp4);
        Ok(Made { source, mp4, snapshot, filmstrip, filmstrip_vtt, remarks, is_damaged })
    }

    /// Makes the plan for the whole, and holds the one that was followed against it.
    fn settle(&self, scan: &mut Scan) -> Result<Plan, Error> {
        if self.job.transform.audio.mute && scan.video.is_some() {
            scan.audio = None;
        }
        let whole = plan(scan, self.job.outputs, &self.job.transform, None)?;
        self.head.check_same(scan).and_then(|()| self.planned.check_same(&whole))?;
        Ok(whole)
    }

    /// What can be drawn only now: of the parts that have it.
    fn late(
        &self,
        scan: &Scan,
        plan: &Plan,
        growing: &Growing,
        wish: &Wish,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Pictures>, Error> {
        let snapshot = plan.snapshot && plan.want.snapshot.at != Moment::First;
        let (Some(v), true) = (&scan.video, snapshot || plan.filmstrip) else { return Ok(None) };
        let plan = Plan { snapshot, ..plan.pictures_only() };
        debug_assert!(plan.video == Some(VideoPlan::PicturesOnly));
        let bytes = self.growth.told().durable;
        let drawing = Drawing { scan, mark: self.watermark.as_ref(), wish };
        let mut shares = Vec::new();
        for plan in shared_out(v, scan, &plan) {
            let pairs = groups(v, &Pictures::new(scan, &plan), bytes);
            if pairs.is_empty() {
                shares.clear();
                break;
            }
            let input = growing.with_layout(|layout| layout.open(&self.file, &pairs, bytes))?;
            shares.push((plan, input));
        }
        if let Some(pictures) = drawing.at_once(&shares, watch)? {
            return Ok(Some(pictures));
        }
        // Of all of it.
        drawing.draw(&plan, &Input::beginning(&self.file, bytes)?, watch).map(Some)
    }
}

/// Decoders at once that draw the tiles.
const SHARES_MAX: usize = 4;

/// The plan for the pictures, in as many shares as there are processors to draw them at once; in one where the
/// picture's size changes, which decides how all tiles are drawn.
fn shared_out(v: &VideoScan, scan: &Scan, plan: &Plan) -> Vec<Plan> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let of = match v.sizes.len() {
        1 if plan.filmstrip => processors.min(SHARES_MAX),
        _ => 1,
    };
    let of = of.min(Pictures::new(scan, plan).groups().len()).max(1);
    let share = |number| {
        let (share, snapshot) = (Share { number, of }, plan.snapshot && number == 0);
        Plan { share, snapshot, ..plan.clone() }
    };
    (0..of).map(share).collect()
}

/// What pictures are drawn with.
#[derive(Clone, Copy)]
struct Drawing<'a> {
    scan: &'a Scan,
    mark: Option<&'a Arc<Picture>>,
    wish: &'a Wish,
}

impl Drawing<'_> {
    fn draw(
        self,
        plan: &Plan,
        input: &Arc<Input>,
        watch: &mut Watch<'_>,
    ) -> Result<Pictures, Error> {
        let outcome = run(input, self.scan, plan, self.mark, None, self.wish, watch)?;
        if outcome.cut {
            return Err(not_live("its pictures could not all be decoded"));
        }
        Ok(outcome.pictures)
    }

    /// Draws all shares, each in a thread; nothing where what was read was not enough for one of them.
    fn at_once(
        self,
        shares: &[(Plan, Arc<Input>)],
        watch: &mut Watch<'_>,
    ) -> Result<Option<Pictures>, Error> {
        let Some(((plan, input), others)) = shares.split_first() else { return Ok(None) };
        let watches = others.iter().map(|_| watch.beside()).collect::<Result<Vec<_>, _>>()?;
        let drawn = std::thread::scope(|scope| {
            let others: Vec<_> = others
                .iter()
                .zip(watches)
                .map(|((plan, input), mut watch)| {
                    scope.spawn(move || self.draw(plan, input, &mut watch))
                })
                .collect();
            let first = self.draw(plan, input, watch);
            let lost = |_| Err(Error::Internal("a thread that drew tiles ended".into()));
            let others = others.into_iter().map(|other| other.join().unwrap_or_else(lost));
            std::iter::once(first).chain(others).collect::<Result<Vec<_>, _>>()
        })?;
        if !drawn.iter().all(Pictures::has_all_groups) {
            return Ok(None);
        }
        let mut drawn = drawn.into_iter();
        let Some(mut first) = drawn.next() else { return Ok(None) };
        for other in drawn {
            if !first.join(other)? {
                return Ok(None);
            }
        }
        Ok(Some(first))
    }
}

/// Where the groups lie that pictures are wanted of, each from its key frame's part to the next one's;
/// nothing where that is not known.
fn groups(v: &VideoScan, wanted: &Pictures, bytes: u64) -> Vec<(u64, u64)> {
    if v.places.len() != v.keyframes.len() {
        return Vec::new();
    }
    // By time, as the tiles are; in the file they come in another order where frames are reordered.
    let mut keys: Vec<(i64, u64)> =
        v.keyframes.iter().copied().zip(v.places.iter().copied()).collect();
    keys.sort_unstable();
    let place = |number: usize| keys.get(number).map(|(_, place)| *place);
    let pair = |&number: &usize| Some((place(number)?, place(number + 1).unwrap_or(bytes)));
    wanted.groups().iter().filter_map(pair).collect()
}

/// What was drawn on the way, and afterwards.
fn merge(mut first: Written, late: Option<Result<Written, Error>>) -> Result<Written, Error> {
    let Some(late) = late.transpose()? else { return Ok(first) };
    first.remarks.extend(late.remarks);
    Ok(Written {
        snapshot: first.snapshot.or(late.snapshot),
        filmstrip: late.filmstrip,
        filmstrip_vtt: late.filmstrip_vtt,
        remarks: first.remarks,
    })
}
