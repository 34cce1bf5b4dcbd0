//! What one session needs from its surroundings: core's [`Services`], for production.

use std::{
    future, io,
    marker::PhantomData,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use base64::Engine as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use gateway_core::{
    approval::ApprovalRequest,
    decision::{Denial, Reason},
    drive::{Command, Link, Services},
    id::{ApprovalId, SessionId, TargetName},
    identity::{Authenticated, Principal},
    record::EvidenceSink,
    time::Now,
    wire::{Answer, Credential, Question, Route, TargetLogin},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;

use crate::{
    clock,
    config::{Listener, Protocol},
    exchange::ExchangeError,
    gateway::Gateway,
    target::TargetService,
};

/// How sessions of one protocol reach their target.
pub(crate) trait Lane: Send + Sync + 'static {
    /// Both connections of a session.
    type Link: Link;

    /// Opens the target's connection.
    fn connect(target: Arc<TargetService>) -> BoxFuture<'static, io::Result<Self::Link>>;

    /// Sends to the target on a connection of its own. Only for protocols whose wire asks for it.
    fn aside(
        target: Arc<TargetService>,
        data: <Self::Link as Link>::Outbound,
    ) -> BoxFuture<'static, io::Result<()>>;
}

/// One session's surroundings.
pub(crate) struct SessionServices<L> {
    shared: Arc<Shared>,
    lane: PhantomData<fn() -> L>,
}

struct Shared {
    gateway: Arc<Gateway>,
    session: SessionId,
    /// Where the agent connects from.
    source: IpAddr,
    /// What is spoken on the session's listener.
    protocol: Protocol,
    /// The one target of the session's listener; `None`: the client names it.
    fixed: Option<TargetName>,
    commands: mpsc::Sender<Command>,
    /// Set once, by the answer to the first [`Question::Route`] that succeeds.
    route: OnceLock<(Arc<TargetService>, String)>,
}

impl<L: Lane> SessionServices<L> {
    /// Surroundings for one session on `listener`, from `source`.
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        (session, source): (SessionId, IpAddr),
        listener: &Listener,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let shared = Shared {
            gateway,
            session,
            source,
            protocol: listener.protocol,
            fixed: listener.target.clone(),
            commands,
            route: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            lane: PhantomData,
        }
    }
}

impl<L: Lane> Services for SessionServices<L> {
    type Link = L::Link;

    fn now(&self) -> Now {
        clock::now()
    }

    fn evidence(&self) -> &dyn EvidenceSink {
        &self.shared.gateway.log
    }

    fn ask(&self, question: Question) -> BoxFuture<'static, Answer> {
        if let Question::Cancel { process, key } = question {
            // Begun at once: the agent may hang up before the answer is waited for.
            let cancelled = self.shared.gateway.sessions.cancel(process, &key);
            return cancelled.map(|()| Answer::Cancelled).boxed();
        }
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
        self.shared.gateway.sessions.cancelled(self.shared.session);
    }

    fn connect(&self) -> BoxFuture<'static, io::Result<L::Link>> {
        match self.shared.route.get() {
            Some((target, _)) => L::connect(Arc::clone(target)),
            None => future::ready(Err(io::ErrorKind::NotConnected.into())).boxed(),
        }
    }

    fn aside(&self, data: <L::Link as Link>::Outbound) {
        if let Some((target, _)) = self.shared.route.get() {
            let delivered = L::aside(Arc::clone(target), data);
            let (shared, target) = (Arc::clone(&self.shared), Arc::clone(target));
            // Owned by nobody on purpose: bounded by its deadline, and of no consequence to a session.
            tokio::spawn(async move {
                if let Err(error) = delivered.await {
                    let (target, error) = (target.config().name.as_str(), error.kind());
                    tracing::warn!(target, %error, "a cancel request did not reach the target");
                }
                shared.gateway.sessions.cancelled(shared.session);
            });
        }
    }
}

impl Shared {
    /// `None` is "no answer": the wire refuses what it asked for.
    async fn answer(&self, question: Question) -> Option<Answer> {
        match question {
            Question::Route { requested } => Some(Answer::Route(self.route(&requested).await)),
            Question::Authenticate {
                claimed_user,
                credential,
            } => Some(Answer::Authenticated(
                self.authenticate(&claimed_user, &credential).await,
            )),
            Question::AnalyseSql { text } => {
                let (target, database) = self.route.get()?;
                let Gateway {
                    policy, analysis, ..
                } = &*self.gateway;
                match target
                    .postgres()?
                    .analyse(policy, analysis, database, text)
                    .await
                {
                    Ok(analysed) => Some(Answer::Analysed(analysed)),
                    Err(error) => self.unanswered("analysis", &error),
                }
            }
            Question::TargetLogin => Some(Answer::TargetLogin(self.target_login().await)),
            Question::SaltPassword { salt, iterations } => {
                let (target, _) = self.route.get()?;
                match target
                    .postgres()?
                    .connector()
                    .credential()
                    .salted_password(salt, iterations)
                    .await
                {
                    Ok(salted) => Some(Answer::SaltedPassword(salted)),
                    Err(error) => self.unanswered("salted password", &error),
                }
            }
            Question::CancelKey { process, length } => {
                let sessions = &self.gateway.sessions;
                let key = sessions.cancel_key(self.session, process, length).ok()?;
                Some(Answer::CancelKey { key })
            }
            // Answered where it is asked.
            Question::Cancel { .. } => None,
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
        let (name, database) = match (&self.fixed, requested.split_once(':')) {
            (Some(name), _) => (name.as_str(), Some(requested)),
            (None, Some((name, database))) => (name, Some(database)),
            (None, None) => (requested, None),
        };
        let target = TargetName::parse(name)
            .ok()
            .and_then(|name| self.gateway.targets.get(&name))
            .filter(|target| target.protocol() == self.protocol)
            .ok_or_else(|| self.unknown_target())?;
        let database = database.filter(|database| !database.is_empty());
        let route = target.route(&self.gateway.policy, database).await?;
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
            .with_hint(format!("name it in {}", self.protocol.names_target_by()))
    }

    async fn authenticate(
        &self,
        claimed_user: &str,
        credential: &Credential,
    ) -> Result<Authenticated<Principal>, String> {
        let principal = match credential {
            Credential::Password(token) | Credential::Bearer(token) => self.verify(token).await?,
            Credential::ClientSecret(secret) => self.exchange(claimed_user, secret).await?,
            Credential::Certificate(certificate) => {
                self.gateway.ssh.verify(certificate, clock::wall())?
            }
        };
        self.gateway
            .sessions
            .authenticated(self.session, principal.get());
        Ok(principal)
    }

    async fn verify(&self, token: &SecretString) -> Result<Authenticated<Principal>, String> {
        let verified = self.gateway.verifier.verify(token.expose_secret()).await;
        verified.map_err(|rejection| rejection.code().to_owned())
    }

    async fn exchange(
        &self,
        user: &str,
        secret: &SecretString,
    ) -> Result<Authenticated<Principal>, String> {
        let exchanged = self.gateway.exchange.token(user, secret, self.source).await;
        let (client, token) = exchanged.map_err(|error| {
            if let ExchangeError::Unavailable(cause) = &error {
                tracing::warn!(session = %self.session, %cause, "a secret was not exchanged");
            }
            error.to_string()
        })?;
        let principal = self.verify(&token).await?;
        if principal.get().app != client {
            return Err("client_id".to_owned());
        }
        Ok(principal)
    }

    async fn target_login(&self) -> Result<TargetLogin, String> {
        let (target, _) = self.route.get().ok_or("no target is chosen")?;
        let target = target.postgres().ok_or("the target has no such login")?;
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
            direct_tls: target.connector().is_tls_direct(),
        })
    }
}
