//! Volumes in a guest kernel, with the real program: format, open, every verb, and what goes wrong.

mod common;
mod verbs;
