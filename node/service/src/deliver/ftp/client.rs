//! A control connection: made, logged in, asked.
//!
//! Every path is given in full, from `/`, and no answer is left unread: where one may be, the
//! connection is dropped and another one made.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt;
use nix::sys::socket::{setsockopt, sockopt};
use suppaftp::tokio::{AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream};
use suppaftp::types::{Features, FileType, Mode, Response};
use suppaftp::{FtpError, Status};
use tokio::net::{TcpStream, lookup_host};

use super::error::{Error, LOG_IN, Refusal, code};
use super::judge::{NoData, judge, no_tls, tls_judged};
use super::tls::{Failure, Trust, Version};

/// The bytes of one file on their way.
pub(super) type Transfer = TransferStream<AsyncRustlsStream>;

/// Most folders a connection remembers as being there.
const FOLDERS_MAX: usize = 1_000;
/// After how many seconds of silence, and how often, a control connection is asked whether it still
/// stands. Address translators forget a connection that is silent while a long file goes over another.
const KEEPALIVE_S: u32 = 30;

/// How a file's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the server.
    Get,
    /// To the server, over what is there from the offset on.
    Put,
    /// To the server, behind what is there.
    Append,
}

/// Where to connect, and as whom.
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    /// `None` for a connection without protection.
    pub(super) tls: Option<(&'a Trust, Version)>,
    /// Longest time for each step, in milliseconds.
    pub(super) connect_ms_max: u64,
}

/// A control connection that is logged in.
pub(super) struct Connection {
    ftp: AsyncRustlsFtpStream,
    features: Features,
    failure: Failure,
    host: String,
    /// Where the user is after logging in.
    pub(super) home: String,
    /// Whether it may serve more than one file.
    pub(super) is_reusable: bool,
    /// Whether the server has SIZE.
    pub(super) has_size: bool,
    folders: HashSet<String>,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Tls`] and the like. The second value says that the server speaks another version of
    /// TLS than was asked for.
    pub(super) async fn open(login: &Login<'_>) -> Result<Self, (Error, bool)> {
        let step = |what| (what, login.connect_ms_max);
        let stream = within(step("connect"), connect(login)).await.map_err(plainly)?;
        let is_ipv6 = stream.peer_addr().is_ok_and(|peer| peer.is_ipv6());
        let what = "be greeted";
        let greeted = within(step(what), async {
            let greeting = AsyncRustlsFtpStream::connect_with_stream(stream).await;
            greeting.map_err(|error| judge(what, "", error, None))
        });
        let mut ftp = greeted.await.map_err(plainly)?;
        let mut failure = Failure::default();
        if let Some((trust, version)) = login.tls {
            let connector = trust.connector(version).map_err(plainly)?;
            failure = connector.failure.clone();
            let what = "set up TLS";
            let secured = within(step(what), async {
                let secured = ftp.into_secure(connector, login.host).await;
                Ok(secured.map_err(|error| no_tls(login.host, error, &failure)))
            });
            ftp = secured.await.map_err(plainly)??;
        }
        let connect_ms_max = login.connect_ms_max;
        let ftp = ftp
            .passive_stream_builder(move |address| Box::pin(connect_data(address, connect_ms_max)));
        let mut connection = Self {
            ftp,
            features: Features::new(),
            failure,
            host: login.host.to_owned(),
            home: "/".into(),
            is_reusable: login.tls.is_none_or(|(_, version)| version == Version::Tls12),
            has_size: true,
            folders: HashSet::new(),
        };
        within(step(LOG_IN), connection.log_in(login)).await.map_err(plainly)?;
        let choosing = connection.choose_passive_mode(is_ipv6);
        within(step("choose passive mode"), choosing).await.map_err(plainly)?;
        Ok(connection)
    }

    async fn log_in(&mut self, login: &Login<'_>) -> Result<(), Error> {
        let logged_in = self.ftp.login(login.user, login.password).await;
        logged_in.map_err(|error| judge(LOG_IN, "", error, Some(login.password)))?;
        // Some send features in a form of their own; then they have none that are used here.
        match self.ftp.feat().await {
            Ok(features) => self.features = features,
            Err(FtpError::BadResponse | FtpError::UnexpectedResponse(_)) => {}
            Err(error) => return Err(self.error("ask for features", "", error)),
        }
        if self.features.contains_key("UTF8") {
            self.allow("OPTS UTF8 ON").await?;
        }
        let binary = self.ftp.transfer_type(FileType::Binary).await;
        binary.map_err(|error| self.error("choose binary transfers", "", error))?;
        match self.ftp.pwd().await {
            Ok(home) if home.starts_with('/') => self.home = home.replace("\"\"", "\""),
            Ok(_) | Err(FtpError::UnexpectedResponse(_) | FtpError::BadResponse) => {}
            Err(error) => return Err(self.error("ask for the folder", "", error)),
        }
        Ok(())
    }

    /// Extended passive mode, or else passive mode, with the port that the server answers and the
    /// address that it was reached by: servers behind address translation answer one that leads
    /// nowhere, and one that leads elsewhere is not to be trusted.
    async fn choose_passive_mode(&mut self, is_ipv6: bool) -> Result<(), Error> {
        // Asked by itself, since a refusal of what follows it looks the same.
        let has_extended = is_ipv6
            || match self.ftp.custom_command("EPSV", &[Status::ExtendedPassiveMode]).await {
                Ok(_) => true,
                Err(FtpError::UnexpectedResponse(response)) if code(&response) >= 500 => false,
                Err(error) => return Err(self.error("choose extended passive mode", "", error)),
            };
        self.ftp.set_mode(if has_extended { Mode::ExtendedPassive } else { Mode::Passive });
        self.ftp.set_passive_nat_workaround(true);
        Ok(())
    }

    /// Whether it can still be used: the server has neither closed it nor said something unasked.
    pub(super) async fn is_quiet(&self) -> bool {
        let socket = self.ftp.get_ref().await;
        let mut byte = [0];
        socket.peek(&mut byte).now_or_never().is_none()
    }

    /// Says goodbye, for at most a second.
    pub(super) async fn quit(mut self) {
        drop(tokio::time::timeout(Duration::from_secs(1), self.ftp.quit()).await);
    }

    /// Whether the server has a feature, and its parameters.
    pub(super) fn feature(&self, name: &str) -> Option<&str> {
        self.features.get(name).map(|value| value.as_deref().unwrap_or_default())
    }

    /// Asks something, and takes any reply with one of these codes.
    pub(super) async fn ask(
        &mut self,
        what: &'static str,
        path: &str,
        command: String,
        expected: &[Status],
    ) -> Result<Response, Error> {
        let answer = self.ftp.custom_command(command, expected).await;
        answer.map_err(|error| self.error(what, path, error))
    }

    /// Asks something that may be refused.
    async fn allow(&mut self, command: &str) -> Result<bool, Error> {
        match self.ftp.custom_command(command, &[Status::CommandOk]).await {
            Ok(_) => Ok(true),
            Err(FtpError::UnexpectedResponse(_)) => Ok(false),
            Err(error) => Err(self.error("choose options", "", error)),
        }
    }

    /// The size of a file in bytes; `None` where there is none, or the server does not say.
    pub(super) async fn size(&mut self, path: &str) -> Result<Option<u64>, Error> {
        if !self.has_size {
            return Ok(None);
        }
        let asked = self.ftp.size(path).await.map(|size| size as u64);
        match asked.map_err(|error| self.error("ask for the size of", path, error)) {
            Ok(size) => Ok(Some(size)),
            Err(Error::Refused(refusal)) if refusal.is_unsupported() => {
                self.has_size = false;
                Ok(None)
            }
            Err(Error::Refused(refusal)) if refusal.may_be_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder and those above it, unless they are there.
    pub(super) async fn make_folder(&mut self, path: &str) -> Result<(), Error> {
        if self.folders.contains(path) || self.enter(path).await?.is_none() {
            return Ok(());
        }
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            let folder = &path[..end];
            if self.folders.contains(folder) || self.enter(folder).await?.is_none() {
                continue;
            }
            let made = self.ftp.mkdir(folder).await;
            if let Err(error) = made.map_err(|error| self.error("make the folder", folder, error)) {
                // Somebody else may have made it meanwhile.
                if !matches!(error, Error::Refused(_)) || self.enter(folder).await?.is_some() {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Enters a folder; answers why it cannot.
    async fn enter(&mut self, path: &str) -> Result<Option<Refusal>, Error> {
        let entered = self.ftp.cwd(path).await;
        match entered.map_err(|error| self.error("enter the folder", path, error)) {
            Ok(()) => {
                if self.folders.len() >= FOLDERS_MAX {
                    self.folders.clear();
                }
                self.folders.insert(path.to_owned());
                Ok(None)
            }
            Err(Error::Refused(refusal)) if !refusal.is_unsupported() && refusal.code >= 500 => {
                Ok(Some(refusal))
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a file. `false` where the server refuses; there may be none.
    pub(super) async fn delete(&mut self, path: &str) -> Result<Result<(), Refusal>, Error> {
        let deleted = self.ftp.rm(path).await;
        match deleted.map_err(|error| self.error("delete", path, error)) {
            Ok(()) => Ok(Ok(())),
            Err(Error::Refused(refusal)) if refusal.may_be_missing() => Ok(Err(refusal)),
            Err(error) => Err(error),
        }
    }

    /// Opens a data connection for a file, from an offset on.
    pub(super) async fn transfer(
        &mut self,
        what: &'static str,
        way: Way,
        path: &str,
        offset: u64,
    ) -> Result<Transfer, Error> {
        let offset = usize::try_from(offset)
            .map_err(|_| Error::Settings("files this large cannot be sent".into()))?;
        let set = self.ftp.resume_transfer(offset).await;
        set.map_err(|error| self.error(what, path, error))?;
        let opened = match way {
            Way::Get => self.ftp.retr_as_stream(path).await,
            Way::Put => self.ftp.put_with_stream(path).await,
            Way::Append => self.ftp.append_with_stream(path).await,
        };
        let error = match opened {
            Ok(transfer) => return Ok(transfer),
            Err(error) => self.error(what, path, error),
        };
        if offset > 0 && matches!(error, Error::Refused(_)) {
            // vsftpd keeps the offset for whatever comes next.
            match self.ftp.custom_command("REST 0", &[Status::RequestFilePending]).await {
                Ok(_) | Err(FtpError::UnexpectedResponse(_)) => {}
                Err(error) => return Err(self.error(what, path, error)),
            }
        }
        Err(error)
    }

    /// Breaks a transfer off, and asks why the server did so, if it did. Afterwards the connection
    /// cannot be used.
    pub(super) async fn reason(
        &mut self,
        what: &'static str,
        path: &str,
        transfer: Transfer,
    ) -> Option<Error> {
        let limit = Duration::from_secs(5);
        match tokio::time::timeout(limit, self.ftp.abort(transfer)).await {
            Ok(Err(FtpError::UnexpectedResponse(response))) if code(&response) >= 400 => {
                Some(Error::Refused(Refusal::read(what, path, &response, None)))
            }
            _ => None,
        }
    }

    /// Judges an error of the library.
    pub(super) fn error(&self, what: &'static str, path: &str, error: FtpError) -> Error {
        if let FtpError::SecureError(said) = &error {
            return tls_judged(&self.host, what, said, self.failure.take());
        }
        judge(what, path, error, None)
    }
}

fn plainly(error: Error) -> (Error, bool) {
    (error, false)
}

async fn within<T>(
    (what, ms): (&'static str, u64),
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(Duration::from_millis(ms), step).await {
        Ok(result) => result,
        Err(_) if what == "connect" => Err(Error::Unreachable("it does not answer".into())),
        Err(_) => Err(Error::Stalled { what, stall_ms: ms }),
    }
}

async fn connect(login: &Login<'_>) -> Result<TcpStream, Error> {
    let found = lookup_host((login.host, login.port)).await.map_err(|_| Error::Dns)?;
    let mut last = Error::Dns;
    for address in found.take(8) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without these it works too, but for lines that forget.
                drop(stream.set_nodelay(true));
                let _ = setsockopt(&stream, sockopt::KeepAlive, &true);
                let _ = setsockopt(&stream, sockopt::TcpKeepIdle, &KEEPALIVE_S);
                let _ = setsockopt(&stream, sockopt::TcpKeepInterval, &KEEPALIVE_S);
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = Error::NothingThere;
            }
            Err(error) => last = Error::Unreachable(error.to_string()),
        }
    }
    Err(last)
}

async fn connect_data(address: SocketAddr, ms: u64) -> Result<TcpStream, FtpError> {
    let limit = Duration::from_millis(ms);
    let problem = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "nothing listens there (connection refused)".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    let error = NoData { port: address.port(), problem };
    Err(FtpError::ConnectionError(io::Error::other(error)))
}
