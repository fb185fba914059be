//! A request to a store, before it is signed.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, Url};
use rusty_s3::{Bucket, Credentials};

use super::client::Header;
use crate::deliver::source::{Range, Source};

/// How long the signature of a request holds. Stores look at it when a request begins.
const SIGNATURE_VALID: Duration = Duration::from_secs(3600);

/// What goes out with a request.
#[derive(Debug, Clone)]
pub(super) enum Payload<'a> {
    Nothing,
    Text(String),
    File(&'a Source, Range),
}

/// A request to a store.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    /// For errors: what it is meant to do.
    pub(super) what: &'static str,
    pub(super) method: Method,
    /// The object; empty where the bucket is asked.
    key: &'a str,
    query: Vec<(&'static str, String)>,
    /// All of them are signed.
    pub(super) headers: Vec<Header>,
    pub(super) payload: Payload<'a>,
    /// Another limit on standing still than the usual, in milliseconds.
    pub(super) stall_ms_max: Option<u64>,
    /// It is not made again after a hiccup.
    pub(super) is_once: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn new(what: &'static str, method: Method, key: &'a str) -> Self {
        let (query, headers, payload) = (Vec::new(), Vec::new(), Payload::Nothing);
        Self { what, method, key, query, headers, payload, stall_ms_max: None, is_once: false }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self.query.sort_unstable();
        self
    }

    pub(super) fn headers(mut self, headers: impl IntoIterator<Item = Header>) -> Self {
        self.headers.extend(headers);
        self.headers.sort_unstable();
        self
    }

    pub(super) fn payload(self, payload: Payload<'a>) -> Self {
        Self { payload, ..self }
    }

    pub(super) fn within(self, stall_ms_max: u64) -> Self {
        Self { stall_ms_max: Some(stall_ms_max), ..self }
    }

    pub(super) fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    /// Its address, signed.
    pub(super) fn sign(&self, bucket: &Bucket, credentials: &Credentials, now: Timestamp) -> Url {
        rusty_s3::signing::sign(
            // The signing library has a version of its own of the library of times. What this one
            // writes that one reads.
            &now.to_string().parse().unwrap_or_default(),
            match self.method {
                Method::HEAD => rusty_s3::Method::Head,
                Method::POST => rusty_s3::Method::Post,
                Method::PUT => rusty_s3::Method::Put,
                Method::DELETE => rusty_s3::Method::Delete,
                _ => rusty_s3::Method::Get,
            },
            bucket.object_url(self.key),
            credentials.key(),
            credentials.secret(),
            credentials.token(),
            bucket.region(),
            SIGNATURE_VALID.as_secs(),
            self.query.iter().map(|(name, value)| (*name, value.as_str())),
            self.headers.iter().map(|(name, value)| (*name, value.as_str())),
        )
    }
}
