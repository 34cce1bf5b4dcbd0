//! What one session needs from its surroundings: core's [`Services`], for production.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use gateway_core::{
    approval::ApprovalRequest,
    decision::{Denial, Reason},
    drive::{Command, Services},
    id::{ApprovalId, SessionId, TargetName},
    identity::{Authenticated, Principal},
    record::EvidenceSink,
    time::Now,
    wire::{Answer, Question, Route, TargetLogin},
};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{clock, gateway::Gateway, target::TargetService};

/// To deliver a cancel request, connecting and TLS included.
const ASIDE_TIME_MAX: Duration = Duration::from_secs(10);

/// One session's surroundings.
pub(crate) struct SessionServices {
    shared: Arc<Shared>,
}

struct Shared {
    gateway: Arc<Gateway>,
    session: SessionId,
    /// The one target of the session's listener; `None`: the client names it.
    fixed: Option<TargetName>,
    commands: mpsc::Sender<Command>,
    /// Set once, by the answer to the first [`Question::Route`] that succeeds.
    route: OnceLock<(Arc<TargetService>, String)>,
}

impl SessionServices {
    /// Surroundings for one session on a listener with this target.
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        session: SessionId,
        fixed: Option<TargetName>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let route = OnceLock::new();
        Self {
            shared: Arc::new(Shared {
                gateway,
                session,
                fixed,
                commands,
                route,
            }),
        }
    }
}

impl Services for SessionServices {
    fn now(&self) -> Now {
        clock::now()
    }

    fn evidence(&self) -> &dyn EvidenceSink {
        &self.shared.gateway.log
    }

    fn ask(&self, question: Question) -> BoxFuture<'static, Answer> {
        let shared = Arc::clone(&self.shared);
        async move { shared.answer(question).await.unwrap_or(Answer::Unanswered) }.boxed()
    }

    fn request_approval(&self, request: ApprovalRequest) {
        self.shared
            .gateway
            .approvals
            .request(request, self.shared.commands.clone());
    }

    fn withdraw_approval(&self, approval: ApprovalId) {
        self.shared.gateway.approvals.withdraw(approval);
    }

    fn connect(&self) -> BoxFuture<'static, io::Result<TcpStream>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let (target, _) = shared.route.get().ok_or(io::ErrorKind::NotConnected)?;
            target.connector().tcp().await.map_err(io::Error::other)
        }
        .boxed()
    }

    fn agent_tls(&self) -> Option<TlsAcceptor> {
        Some(TlsAcceptor::from(Arc::clone(
            &self.shared.gateway.agent_tls,
        )))
    }

    fn target_tls(&self) -> Option<(TlsConnector, ServerName<'static>)> {
        let (target, _) = self.shared.route.get()?;
        let (tls, name) = target.connector().tls();
        let name = ServerName::try_from(name.to_owned()).ok()?;
        Some((TlsConnector::from(Arc::clone(tls)), name))
    }

    fn aside(&self, data: Bytes) {
        let Some((target, _)) = self.shared.route.get() else {
            return;
        };
        let target = Arc::clone(target);
        let session = self.shared.session;
        // Owned by nobody on purpose: bounded by its deadline, and of no consequence to a session.
        tokio::spawn(async move {
            let sent = tokio::time::timeout(ASIDE_TIME_MAX, send_aside(&target, &data)).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::warn!(%session, "a cancel request did not reach the target");
            }
        });
    }
}

/// A cancel request over verified TLS, as every PostgreSQL server since 7.3 takes it after an
/// SSLRequest (release 15, section 55.2.8 "Canceling Requests in Progress").
async fn send_aside(target: &TargetService, data: &[u8]) -> io::Result<()> {
    /// Length 8, code 80877103 (section 55.7 "Message Formats").
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut stream = target.connector().tcp().await.map_err(io::Error::other)?;
    stream.write_all(&SSL_REQUEST).await?;
    if stream.read_u8().await? != b'S' {
        return Err(io::Error::other("the target has no TLS"));
    }
    let (tls, name) = target.connector().tls();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await?;
    stream.write_all(data).await?;
    stream.flush().await?;
    stream.shutdown().await
}

impl Shared {
    /// `None` is "no answer": the wire refuses what it asked for.
    async fn answer(&self, question: Question) -> Option<Answer> {
        match question {
            Question::Route { requested } => Some(Answer::Route(self.route(&requested).await)),
            Question::Authenticate {
                claimed_user: _,
                secret,
            } => Some(Answer::Authenticated(self.authenticate(&secret).await)),
            Question::AnalyseSql { text } => {
                let (target, database) = self.route.get()?;
                let Gateway {
                    policy, analysis, ..
                } = &*self.gateway;
                match target.analyse(policy, analysis, database, text).await {
                    Ok(analysed) => Some(Answer::Analysed(analysed)),
                    Err(error) => self.unanswered("analysis", &error),
                }
            }
            Question::TargetLogin => Some(Answer::TargetLogin(self.target_login().await)),
            Question::SaltPassword { salt, iterations } => {
                let (target, _) = self.route.get()?;
                match target
                    .connector()
                    .credential()
                    .salted_password(salt, iterations)
                    .await
                {
                    Ok(salted) => Some(Answer::SaltedPassword(salted)),
                    Err(error) => self.unanswered("salted password", &error),
                }
            }
            Question::CancelKey { length } => {
                let (process, key) = self
                    .gateway
                    .sessions
                    .cancel_key(self.session, length)
                    .ok()?;
                Some(Answer::CancelKey { process, key })
            }
            Question::Cancel { process, key } => {
                self.gateway.sessions.cancel(process, &key);
                None
            }
            Question::CatalogueChanged => {
                let (target, database) = self.route.get()?;
                self.gateway
                    .catalogue_changed(&target.config().name, database)
                    .await;
                None
            }
            Question::ConsumeApproval { approval, digest } => Some(Answer::Consumed(
                self.gateway.approvals.consume(approval, digest).await,
            )),
        }
    }

    fn unanswered(&self, what: &str, error: &dyn std::error::Error) -> Option<Answer> {
        tracing::error!(session = %self.session, %error, what, "a question has no answer");
        None
    }

    async fn route(&self, requested: &str) -> Result<Route, Denial> {
        let (name, database) = match &self.fixed {
            Some(name) => (name.as_str(), Some(requested)),
            None => match requested.split_once(':') {
                Some((name, database)) => (name, Some(database)),
                None => (requested, None),
            },
        };
        let target = TargetName::parse(name)
            .ok()
            .and_then(|name| self.gateway.targets.get(&name))
            .ok_or_else(|| self.unknown_target())?;
        let database = database
            .filter(|database| !database.is_empty())
            .or(target.config().database.as_deref())
            .unwrap_or(name);
        let route = target
            .route(&self.gateway.policy, database.to_owned())
            .await?;
        let chosen = (Arc::clone(target), route.database.clone());
        if self.route.set(chosen).is_err() {
            return Err(Denial::new(
                Reason::Protocol,
                "the session has a target already",
            ));
        }
        let name = target.config().name.clone();
        self.gateway
            .sessions
            .routed(self.session, name, route.database.clone());
        Ok(route)
    }

    /// Names no target: whoever asks isn't authenticated yet.
    fn unknown_target(&self) -> Denial {
        Denial::new(Reason::NotPermitted, "there is no such target")
            .with_hint("name it in the database: `target` or `target:database`")
    }

    async fn authenticate(
        &self,
        secret: &SecretString,
    ) -> Result<Authenticated<Principal>, String> {
        let verified = self.gateway.verifier.verify(secret.expose_secret()).await;
        let principal = verified.map_err(|rejection| rejection.code().to_owned())?;
        self.gateway
            .sessions
            .authenticated(self.session, principal.get());
        Ok(principal)
    }

    async fn target_login(&self) -> Result<TargetLogin, String> {
        let (target, _) = self.route.get().ok_or("no target is chosen")?;
        let credential = target.connector().credential();
        let proof = credential
            .proof()
            .await
            .map_err(|error| error.to_string())?;
        let entropy = clock::random::<18>().map_err(|error| error.to_string())?;
        let nonce = base64::engine::general_purpose::STANDARD.encode(entropy);
        Ok(TargetLogin {
            user: credential.user().to_owned(),
            proof,
            nonce,
        })
    }
}
