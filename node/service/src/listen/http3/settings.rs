//! What clients may do over QUIC, in numbers. Memory of a connection is bounded by its windows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::super::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX};

/// Longest that nothing comes from a client before it counts as gone: longer than a change of networks takes.
const SILENCE_MS_MAX: u32 = 60_000;
/// A client that is waited for is asked after so long whether it is still there. It keeps open the way through a
/// router, which forgets it after 30 s or more.
const ASK_AGAIN: Duration = Duration::from_secs(20);
/// Most streams of a client that are no requests: control, and two of QPACK; others are refused one by one.
const UNI_STREAMS_MAX: u32 = 8;
/// Most that is sent and not yet known to have arrived, of a connection, in bytes.
const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// Most clients that wait for a place. Each holds one packet and what comes after it, within these bytes.
const WAITING_MAX: usize = 256;
const WAITING_BYTES_MAX: u64 = 32 << 10;
const WAITING_ALL_BYTES_MAX: u64 = 4 << 20;

/// Why HTTP/3 cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Http3Error {
    /// The socket cannot be used.
    #[error("its socket cannot be used: {0}")]
    Socket(io::Error),
    /// TLS lacks what QUIC needs.
    #[error("TLS cannot be used for it: {0}")]
    Tls(NoInitialCipherSuite),
}

/// The same certificate as over https. No early data: it could be sent twice by whoever listens on the line.
pub(super) fn server(tls: &rustls::ServerConfig) -> Result<ServerConfig, Http3Error> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.max_early_data_size = 0;
    let tls = QuicServerConfig::try_from(tls).map_err(Http3Error::Tls)?;
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(Arc::new(transport()))
        .migration(true)
        .max_incoming(WAITING_MAX)
        .incoming_buffer_size(WAITING_BYTES_MAX)
        .incoming_buffer_size_total(WAITING_ALL_BYTES_MAX);
    Ok(server)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(SILENCE_MS_MAX))))
        .keep_alive_interval(Some(ASK_AGAIN));
    transport
}
