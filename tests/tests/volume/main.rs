//! Volumes in a guest kernel, with the real program: every verb, and everything that goes wrong.

mod common;
mod headers;
mod keys;
mod power;
mod reencrypt;
mod service;
mod site;
mod systemd;
mod tpm;
mod units;
mod variants;
mod verbs;
