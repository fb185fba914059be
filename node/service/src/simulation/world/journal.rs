//! What happened in a world, and when. It prints itself when its world goes wrong.

use crate::simulation::oracle::Note;

/// What happened in a world.
#[derive(Debug)]
pub(in crate::simulation) struct Journal {
    seed: u64,
    lines: Vec<Line>,
}

/// A line of it. What nobody may ever read is put into words only when it is read.
#[derive(Debug)]
pub(in crate::simulation) enum Line {
    Words(String),
    Changed(Box<Note>),
}

impl Journal {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, lines: Vec::new() }
    }

    pub(super) fn note(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// All of it.
    pub(in crate::simulation) fn tell(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.iter().map(|line| match line {
            Line::Words(words) => words.clone(),
            Line::Changed(note) => note.tell(),
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for line in self.tell() {
            eprintln!("{line}");
        }
        let seed = self.seed;
        eprintln!(
            "the world of seed {seed} went wrong; live it again with HOLDFAST_SIM_SEED={seed}"
        );
    }
}
