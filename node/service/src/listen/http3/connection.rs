//! One connection: its requests, and its end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use h3::error::ConnectionError;
use quinn::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::idle::Activity;
use super::super::places::Place;
use super::super::{HANDSHAKE_MAX, HEAD_BYTES_MAX};
use super::Shared;
use super::gate::{Door, Line};
use super::request::{self, Requests};

/// How long a client that was told of the end may take to close, once it has been answered: closing before it has
/// all of the answers would take them back.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

type Connection = h3::server::Connection<Line, bytes::Bytes>;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndedError {
    #[error("it took longer than {0:?} to shake hands")]
    Slow(Duration),
    #[error(transparent)]
    Quic(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Http3(#[from] ConnectionError),
}

/// Serves a connection until it ends, is idle or is to stop.
pub(super) async fn serve(
    incoming: Incoming,
    place: Place,
    router: Router,
    shared: Shared,
) -> Result<(), EndedError> {
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, Box::pin(shake(incoming))).await;
    let (quic, connection, door) = shaken.map_err(|_| EndedError::Slow(HANDSHAKE_MAX))??;
    let requests = Requests {
        router,
        quic,
        activity: Arc::new(Activity::default()),
        clock: shared.clock.clone(),
        ends: CancellationToken::new(),
    };
    let done = Box::pin(answer(connection, &door, &requests, &shared)).await;
    drop(place);
    if done.as_ref().is_err_and(ConnectionError::is_h3_no_error) {
        return Ok(());
    }
    Ok(done?)
}

async fn shake(
    incoming: Incoming,
) -> Result<(quinn::Connection, Connection, Arc<Door>), EndedError> {
    let quic = incoming.accept()?.await?;
    let (line, door) = Line::new(quic.clone());
    let mut builder = h3::server::builder();
    builder.max_field_section_size(HEAD_BYTES_MAX.into()).send_grease(false);
    Ok((quic, builder.build(line).await?, door))
}

async fn answer(
    mut connection: Connection,
    door: &Door,
    requests: &Requests,
    shared: &Shared,
) -> Result<(), ConnectionError> {
    let running = TaskTracker::new();
    {
        let told_to_end = async {
            tokio::select! {
                () = requests.activity.idle(shared.idle_max) => {}
                () = shared.stop.cancelled() => {}
            }
        };
        tokio::pin!(told_to_end);
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted?,
                () = &mut told_to_end => break,
            };
            // Nothing: the client said that it has no more, and has been answered.
            let Some(resolver) = accepted else { break };
            running.spawn(request::serve(resolver, door.latest(), requests.clone()));
        }
    }
    door.shut();
    // The first that is not answered is the one after the last; h3 counts from the last.
    connection.shutdown(1).await?;
    running.close();
    let answered = async {
        // Heads that are under way have as long as a farewell.
        if tokio::time::timeout(FAREWELL_MAX, running.wait()).await.is_err() {
            requests.ends.cancel();
            running.wait().await;
        }
    };
    tokio::select! {
        () = answered => {}
        // It drives what h3 has to do beside requests, of which there are no new ones.
        accepted = connection.accept() => drop(accepted?),
    }
    drop(tokio::time::timeout(FAREWELL_MAX, requests.quic.closed()).await);
    Ok(())
}
