//! Bytes under way: those that were handed to the library and that the server has not confirmed.
//!
//! libssh2 sends what it is given in one call without waiting, answers as soon as the first packet is
//! confirmed, and wants what is not confirmed handed over again, where it sends only what is new. So
//! each call gets the whole window, refilled at its end: the line never runs dry, where one write
//! after the other would wait for a round trip between them.
//!
//! What is added to the window is what goes onto the line, so there it waits while the line is to be
//! spared. The window is then as small as half a second of that rate.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::deliver::progress::Progress;

/// Most bytes under way. At 50 ms of round trip this carries 80 MiB/s.
pub(super) const WINDOW_BYTES: usize = 4 << 20;

/// Read from disk at once, in bytes.
const READ_BYTES: usize = 256 << 10;

/// The window over a file of the vault.
pub(super) struct Window<'a> {
    source: &'a File,
    /// Twice the window, so that bytes are moved to its front only once per window.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the file the next byte to read is.
    next: u64,
    bytes: u64,
}

impl<'a> Window<'a> {
    /// A window that begins at `offset` of a file of `bytes` bytes.
    pub(super) fn new(source: &'a File, offset: u64, bytes: u64) -> Self {
        let rest = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
        let buffer = vec![0; rest.min(2 * WINDOW_BYTES)];
        Self { source, buffer, start: 0, end: 0, next: offset, bytes }
    }

    /// What is under way, or may be; empty when everything is confirmed. Blocks until the line may be
    /// used for what it adds.
    ///
    /// # Errors
    /// Where the file cannot be read, or ends too soon.
    pub(super) fn fill(&mut self, progress: &Progress) -> io::Result<&[u8]> {
        let at_most = |bytes: usize| {
            usize::try_from(progress.piece_bytes(bytes as u64)).unwrap_or(bytes).min(bytes)
        };
        // A piece is at most a quarter of a second.
        let (read_bytes, window_bytes) = (at_most(READ_BYTES), 2 * at_most(WINDOW_BYTES / 2));
        while self.next < self.bytes && self.end - self.start < window_bytes {
            let rest = usize::try_from(self.bytes - self.next).unwrap_or(usize::MAX);
            let wanted = rest.min(read_bytes).min(window_bytes - (self.end - self.start));
            // Few large reads rather than one for every packet that was confirmed.
            if wanted < rest.min(read_bytes) && self.end > self.start {
                break;
            }
            progress.leave_blocking(wanted as u64);
            if self.end + wanted > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            let piece = &mut self.buffer[self.end..self.end + wanted];
            self.source.read_exact_at(piece, self.next)?;
            self.end += wanted;
            self.next += wanted as u64;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// The first `bytes` of what is under way are confirmed.
    pub(super) fn confirm(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::deliver::bandwidth::Limiter;

    #[test]
    fn every_byte_passes_once_and_in_order() {
        let length = 3 * WINDOW_BYTES + 12_345;
        let content: Vec<u8> = (0..length).map(|at| (at * 7 / 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        for (offset, confirmed) in [(0, 30_000), (5, WINDOW_BYTES), (length - 1, 1), (77, 999_983)]
        {
            let mut window = Window::new(&file, offset as u64, length as u64);
            let mut at = offset;
            loop {
                let under_way = window.fill(&Progress::default()).unwrap();
                assert!(under_way.len() <= WINDOW_BYTES);
                if under_way.is_empty() {
                    break;
                }
                assert!(under_way == &content[at..at + under_way.len()], "at {at}");
                let taken = confirmed.min(under_way.len());
                window.confirm(taken);
                at += taken;
            }
            assert_eq!(at, length);
        }
        let mut longer = Window::new(&file, 0, length as u64 + 1);
        longer.confirm(0);
        let mut result = Ok(());
        for _ in 0..10 {
            let taken = match longer.fill(&Progress::default()) {
                Ok(under_way) => under_way.len(),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            longer.confirm(taken);
        }
        result.unwrap_err();
    }

    #[test]
    fn on_a_line_to_be_spared_little_is_under_way_and_it_takes_its_time() {
        let length = 1 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; length]).unwrap();
        let limiter = Limiter::fixed(Some(length as u64));
        let progress = Progress::limited(vec![Arc::new(limiter)]);
        let begun = tokio::time::Instant::now();
        let mut window = Window::new(&file, 0, length as u64);
        let mut sent = 0;
        loop {
            let under_way = window.fill(&progress).unwrap().len();
            assert!(under_way <= length / 2, "{under_way} bytes are under way");
            if under_way == 0 {
                break;
            }
            let confirmed = under_way.min(30_000);
            window.confirm(confirmed);
            sent += confirmed;
        }
        assert_eq!(sent, length);
        // The last quarter leaves when the first three have gone.
        let took_ms = begun.elapsed().as_millis();
        assert!(took_ms >= 740, "it went in {took_ms} ms");
    }
}
