//! Letting a recording in: environment, hash, number, room.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use holdfast_core::RecordingId;
use holdfast_core::account::Plan;
use holdfast_core::admission::{self, Refusal};
use holdfast_core::names::VolumeId;
use holdfast_core::recording::{Metadata, Policy, Recording, Source, Terms};
use tokio::sync::OwnedSemaphorePermit;

use super::Ingest;
use super::access::{self, Secrets};
use super::messages::{ClientMetadata, short};
use crate::config::PersonalData;
use crate::node::NodeError;
use crate::problem::Problem;
use crate::retain::room;
use crate::vault::{VaultError, VaultFile, Volume};

/// After how many seconds to try again when there are too many recordings.
const TOO_MANY_RETRY_S: u64 = 5;
/// After how many seconds to try again when there is no room or the ledger fails.
const NO_ROOM_RETRY_S: u64 = 30;

/// What an environment wants done with a recording that may come in.
pub(super) struct Welcome {
    pub(super) env_id: String,
    pub(super) policy: Policy,
    pub(super) terms: Terms,
    pub(super) account_id: Option<String>,
    pub(super) personal_data: PersonalData,
}

/// A new recording that may come in.
pub(super) struct Admitted {
    pub(super) recording: Recording,
    pub(super) secrets: Secrets,
    pub(super) raw: VaultFile,
    /// Until it is disarmed, whatever ends this makes the recording garbage.
    pub(super) guard: Guard,
}

/// Marks a recording as garbage unless it was disarmed: by an error, or by its client going away.
pub(super) struct Guard {
    ingest: Arc<Ingest>,
    id: RecordingId,
    armed: bool,
}

impl Guard {
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            let (ingest, id) = (Arc::clone(&self.ingest), self.id);
            self.ingest.tasks.spawn(async move { ingest.reject(id).await });
        }
    }
}

impl Ingest {
    /// One of the places for recordings that arrive at once; it is free again when dropped.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let most = self.node.config.ingest.recordings_max;
            Problem::too_many(format!("this node takes {most} recordings at once; try again soon"))
                .retry_after_s(TOO_MANY_RETRY_S)
        })
    }

    /// Checks the environment, its hash and its account; answers what the environment wants.
    pub(super) fn admit(&self, env_id: &str, env_hash: &str) -> Result<Welcome, Problem> {
        let settings = &self.node.settings;
        let environment = settings.environment(env_id);
        admission::admit(environment.as_ref().map(|e| e.hash.as_str()), env_hash)
            .map_err(refused)?;
        let environment = environment.ok_or_else(|| refused(Refusal::UnknownEnvironment))?;
        let account = environment.account.as_deref().and_then(|id| settings.account(id));
        if let Some(account) = &account {
            admission::admit_account(account, self.node.clock.now()).map_err(refused)?;
        }
        Ok(Welcome {
            env_id: environment.id.clone(),
            policy: settings.policy(&environment),
            terms: settings.terms(&environment),
            account_id: environment.account.clone(),
            personal_data: environment.personal_data,
        })
    }

    /// Whether the vault has room for so many bytes more.
    pub(super) async fn check_room(&self, bytes: u64) -> Result<(), Problem> {
        self.place(bytes).await.map(drop)
    }

    /// The volume that a new recording of so many bytes goes to.
    async fn place(&self, bytes: u64) -> Result<Option<VolumeId>, Problem> {
        let place = || self.node.with_vault(move |vault| vault.place(bytes).map(Volume::id));
        let placed = match place().await {
            Err(error) if error.is_no_space() => match room::make(&self.node, bytes).await {
                Ok(true) => place().await,
                Ok(false) => Err(error),
                Err(why) => {
                    tracing::error!(error = %why, "no room could be made");
                    Err(error)
                }
            },
            placed => placed,
        };
        placed.map_err(|error| failed(&error))
    }

    /// Enters a new recording into the ledger, then makes its folder.
    ///
    /// It runs to its end also when its caller goes away: what it began is then garbage, and known.
    pub(super) async fn begin(
        self: &Arc<Self>,
        welcome: Welcome,
        source: Source,
        metadata: Metadata,
        bytes: u64,
    ) -> Result<Admitted, Problem> {
        let ingest = Arc::clone(self);
        let begun = self.tasks.spawn(async move {
            let volume = ingest.place(bytes).await?;
            let node = &ingest.node;
            let now = node.clock.now();
            let no_randomness = |error: access::NoRandomness| Problem::internal(error.to_string());
            let secrets = Secrets::new().map_err(no_randomness)?;
            let id = access::new_id(now).map_err(no_randomness)?;
            let Welcome { env_id, policy, terms, account_id, personal_data } = welcome;
            let metadata = personal_data.keep(metadata);
            let mut recording = Recording::new(id, env_id, source, policy, metadata, now);
            recording.account_id = account_id;
            recording.volume = volume;
            recording.terms = terms;
            recording.access = secrets.access();
            node.ledger.insert(recording.clone()).await.map_err(|e| failed(&e.into()))?;
            let guard = Guard { ingest: Arc::clone(&ingest), id, armed: true };
            let made = recording.clone();
            let _lock = node.locks.lock(id).await;
            let raw = node.with_vault(move |vault| vault.create(&made, bytes)).await;
            let raw = raw.map_err(|error| failed(&error))?;
            Ok(Admitted { recording, secrets, raw, guard })
        });
        begun.await.map_err(|error| Problem::internal(error.to_string()))?
    }

    /// Nothing is to be kept of a recording. What cannot be noted now is found at the next start.
    pub(super) async fn reject(&self, id: RecordingId) {
        let now = self.node.clock.now();
        let event = holdfast_core::Event::Rejected;
        if let Err(error) = self.node.ledger.apply(id, event, now).await {
            tracing::error!(recording = %id, %error, "could not mark as garbage");
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    // Both get the same answer: whoever tries ids must not learn which exist.
    match refusal {
        Refusal::UnknownEnvironment | Refusal::WrongHash => Problem::unauthorized(
            "no environment has this env_id and hash; compare both with the environment's settings",
        ),
        Refusal::AccountExpired(plan) => Problem::account_expired(match plan {
            Plan::Trial => "the account's trial is over; subscribe, and record again",
            Plan::Paid => "the account's subscription is over; renew it, and record again",
        }),
    }
}

/// What a client is told when the node itself fails.
pub(super) fn failed(error: &NodeError) -> Problem {
    if error.is_no_space() {
        return Problem::no_space(
            "the node's disk is full; nothing was taken in. Try again later, or tell whoever runs the node",
        )
        .retry_after_s(NO_ROOM_RETRY_S);
    }
    if let NodeError::Vault(VaultError::Away { volume, .. }) = error {
        tracing::warn!(%error, "a recording waits for its volume");
        return Problem::unavailable(format!(
            "the volume {volume} is away; what was acknowledged is safe on it. Try again later, or tell \
             whoever runs the node"
        ))
        .retry_after_s(NO_ROOM_RETRY_S);
    }
    tracing::error!(%error, "a recording could not be taken in");
    Problem::unavailable("the node cannot write; what was acknowledged is safe. Try again later")
        .retry_after_s(NO_ROOM_RETRY_S)
}

/// What the server knows of a client, and what the client says of itself.
pub(super) fn metadata(peer: SocketAddr, headers: &HeaderMap, client: ClientMetadata) -> Metadata {
    let text = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        short(value.map(str::to_owned))
    };
    Metadata {
        ip: Some(peer.ip().to_canonical().to_string()),
        user_agent: text(header::USER_AGENT),
        referrer: text(header::REFERER).or_else(|| text(header::ORIGIN)),
        camera: short(client.camera),
        microphone: short(client.microphone),
        title: short(client.name),
    }
}
