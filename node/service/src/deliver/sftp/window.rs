//! Bytes under way: those that were handed to the library and that the server has not confirmed.
//!
//! libssh2 sends what it is given in one call without waiting, answers as soon as the first packet is
//! confirmed, and wants what is not confirmed handed over again, where it sends only what is new. So
//! each call gets the whole window, refilled at its end: the line never runs dry, where one write
//! after the other would wait for a round trip between them.

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
    progress: &'a Progress,
}

impl<'a> Window<'a> {
    /// A window that begins at `offset` of a file of `bytes` bytes.
    pub(super) fn new(source: &'a File, offset: u64, bytes: u64, progress: &'a Progress) -> Self {
        let rest = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
        let buffer = vec![0; rest.min(2 * WINDOW_BYTES)];
        Self { source, buffer, start: 0, end: 0, next: offset, bytes, progress }
    }

    /// What is under way, or may be; empty when everything is confirmed.
    ///
    /// # Errors
    /// Where the file cannot be read, or ends too soon.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        while self.next < self.bytes && self.end - self.start < WINDOW_BYTES {
            let rest = usize::try_from(self.bytes - self.next).unwrap_or(usize::MAX);
            let read_bytes = self.progress.piece_bytes(READ_BYTES as u64);
            let read_bytes = usize::try_from(read_bytes).unwrap_or(READ_BYTES);
            let wanted = rest.min(read_bytes).min(WINDOW_BYTES - (self.end - self.start));
            // Few large reads rather than one for every packet that was confirmed.
            if wanted < rest.min(read_bytes) && self.end > self.start {
                break;
            }
            if self.end + wanted > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            let has_waited = self.progress.leave_blocking(wanted as u64);
            let piece = &mut self.buffer[self.end..self.end + wanted];
            self.source.read_exact_at(piece, self.next)?;
            self.end += wanted;
            self.next += wanted as u64;
            if has_waited {
                break;
            }
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
        let progress = Progress::default();
        let length = 3 * WINDOW_BYTES + 12_345;
        let content: Vec<u8> = (0..length).map(|at| (at * 7 / 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        for (offset, confirmed) in [(0, 30_000), (5, WINDOW_BYTES), (length - 1, 1), (77, 999_983)]
        {
            let mut window = Window::new(&file, offset as u64, length as u64, &progress);
            let mut at = offset;
            loop {
                let under_way = window.fill().unwrap();
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
        let mut longer = Window::new(&file, 0, length as u64 + 1, &progress);
        longer.confirm(0);
        let mut result = Ok(());
        for _ in 0..10 {
            let taken = match longer.fill() {
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
    fn on_a_line_to_be_spared_each_piece_waits_until_the_one_before_has_gone() {
        let length = 1 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; length]).unwrap();
        let limiter = Limiter::fixed(Some(length as u64));
        let progress = Progress::limited(vec![Arc::new(limiter)]);
        let begun = tokio::time::Instant::now();
        let mut window = Window::new(&file, 0, length as u64, &progress);
        let mut sent = 0;
        loop {
            let under_way = window.fill().unwrap().len();
            assert!(under_way <= length / 2, "{under_way} bytes go at once");
            if under_way == 0 {
                break;
            }
            window.confirm(under_way);
            sent += under_way;
        }
        assert_eq!(sent, length);
        // The last quarter leaves when the first three have gone.
        let took_ms = begun.elapsed().as_millis();
        assert!(took_ms >= 740, "it went in {took_ms} ms");
    }
}
